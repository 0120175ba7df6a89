-- ARGV  5 epoch  6 the probe's id
local circuit = read()
if circuit and circuit.epoch == tonumber(ARGV[5]) then
  redis.call('ZREM', probes, ARGV[6])
end
return standing(0)
