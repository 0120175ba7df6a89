-- KEYS  1 a target's hash: process -> "limit end"
-- ARGV  1 now in ms, empty: the server's own  2 the process that asks
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local notes, limits = redis.call('HGETALL', KEYS[1]), {}
for each = 1, #notes, 2 do
  local limit, ends = string.match(notes[each + 1], '^(%d+) (%d+)$')
  if notes[each] ~= ARGV[2] and tonumber(ends) > now then
    limits[#limits + 1] = tonumber(limit)
  end
end
table.sort(limits)
return limits
