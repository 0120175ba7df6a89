-- ARGV  4 (no target)  5 born of what was seen  6 version that was seen  7 most at once
local seen, at_once = tonumber(ARGV[6]), tonumber(ARGV[7])
local known = redis.call('HMGET', about, 'born', 'version')
local born, version = known[1] or '0', tonumber(known[2] or '0')
if born ~= ARGV[5] or seen > version then
  seen = 0
end
if seen == version then
  return {now, tonumber(born), version, 0}
end
local found = redis.call('ZRANGEBYSCORE', changed, '(' .. whole(seen), '+inf', 'WITHSCORES', 'LIMIT', 0, at_once + 1)
local more = #found > 2 * at_once
local told = {now, tonumber(born), version, more and 1 or 0}
for index = 1, math.min(#found, 2 * at_once), 2 do
  local packed = redis.call('HGET', circuits, found[index])
  local circuit = packed and unpack_circuit(packed)
  if circuit then
    told[#told + 1] = {
      found[index], circuit.epoch, circuit.open, circuit.till, circuit.times, circuit.successes, circuit.by,
    }
  end
  if more then
    told[3] = tonumber(found[index + 1])
  end
end
return told
