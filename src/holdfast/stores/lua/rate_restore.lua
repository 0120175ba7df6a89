-- Puts what a process knows of its own admissions in the place of what stands here of them.
-- KEYS: z and h of a window.
-- ARGV: now (empty: the server's), length, how names of the process' entries begin, then of each entry: name, how long ago,
--   requests, tokens.
local WIDTH = 4
local now, length, own = clock(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local z, h = KEYS[1], KEYS[2]
local before = open(z, h, '.')
now = math.max(now, before.newest - 1)
expire(before, now, length)
for _, name in ipairs(redis.call('HKEYS', h)) do
  if string.sub(name, 1, #own) == own then
    local w = open(z, h, name)
    local r, t = amounts(w.said)
    give_back(w, r, t)
  end
end
for at = 3, #ARGV - WIDTH, WIDTH do
  local moment = now + 1 - tonumber(ARGV[at + 2])
  if moment + length > now then
    book(open(z, h, ARGV[at + 1]), moment, length, tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]))
  end
end
return 1
