-- ARGV  5 epoch  6 the probe's id  7 most at once  8 lease in ms
local epoch, id, most, lease_ms = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local GRANTED, FULL, RESTING, MOVED, UNKNOWN = 0, 1, 2, 3, 4
local circuit = read()
if not circuit or circuit.epoch < epoch then
  return standing(UNKNOWN)
end
if circuit.epoch > epoch or circuit.open == 0 then
  return standing(MOVED)
end
if now < circuit.till then
  return standing(RESTING)
end
lapse()
if not redis.call('ZSCORE', probes, id) and redis.call('ZCARD', probes) + circuit.successes >= most then
  return standing(FULL)
end
redis.call('ZADD', probes, whole(now + lease_ms), id)
redis.call('PEXPIRE', probes, ttl)
return standing(GRANTED)
