-- ARGV  5 epoch  6 the probe's id  7 successes that close it  8 by whom
local epoch, id, most = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
lapse()
local circuit = read()
-- A place that is gone was counted before, or has lapsed: an answer that got lost may be asked for again.
if circuit and circuit.epoch == epoch and redis.call('ZREM', probes, id) == 1 then
  circuit.successes = circuit.successes + 1
  if circuit.successes < most then
    write(circuit)
  else
    put(epoch + 1, 0, 0, 0, ARGV[8])
  end
end
return standing(0)
