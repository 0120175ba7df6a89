-- KEYS  for each target a hash: process -> "limit end"
-- ARGV  1 now in ms, empty: the server's own  2 time to live in ms  3 process  4... the targets' limits
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local ends = string.format('%.0f', now + ARGV[2])
for index, key in ipairs(KEYS) do
  local notes = redis.call('HGETALL', key)
  for each = 1, #notes, 2 do
    if tonumber(string.match(notes[each + 1], ' (%d+)$')) <= now then
      redis.call('HDEL', key, notes[each])
    end
  end
  redis.call('HSET', key, ARGV[3], ARGV[3 + index] .. ' ' .. ends)
  redis.call('PEXPIRE', key, ARGV[2])
end
return #KEYS
