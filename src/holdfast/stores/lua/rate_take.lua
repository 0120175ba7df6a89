-- Lets a request into all its windows or into none, and says how they stand.
-- KEYS: marker, then z and h of each window.
-- ARGV: epoch, now (empty: the server's), then of each window: length, limits (requests, tokens; -1: none), what is taken
--   (requests, tokens), the entry's name, and what waits before it (requests, tokens).
-- Answers: {-1} if the epoch is another one; else 1 or 0, now, and of each window: what counts (requests, tokens), when all of
--   it is free again (likewise), and when what is asked fits behind what waits (likewise; 0 where it was let in).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return { -1 } end
local WIDTH = 8
local now = clock(ARGV[2])
local windows = {}
for i = 1, (#KEYS - 1) / 2 do
  local at = 2 + (i - 1) * WIDTH
  local w = open(KEYS[2 * i], KEYS[2 * i + 1], ARGV[at + 6])
  w.length = tonumber(ARGV[at + 1])
  w.limit_r, w.limit_t = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  w.take_r, w.take_t = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  w.ahead_r, w.ahead_t = tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
  now = math.max(now, w.newest - 1) -- a clock that goes back: time stands still until it has caught up
  windows[i] = w
end
local admitted = 1
for _, w in ipairs(windows) do
  expire(w, now, w.length)
  local full = (w.limit_r >= 0 and w.r + w.take_r > w.limit_r) or (w.limit_t >= 0 and w.t + w.take_t > w.limit_t)
  if full and (w.r > 0 or w.t > 0) and redis.call('EXISTS', w.z) == 0 then
    redis.call('UNLINK', w.h) -- sums without entries would never go down: the other key was evicted
    w.r, w.t, w.said = 0, 0, false
    full = (w.limit_r >= 0 and w.take_r > w.limit_r) or (w.limit_t >= 0 and w.take_t > w.limit_t)
  end
  if full then admitted = 0 end
end
local answer = { admitted, now }
for _, w in ipairs(windows) do
  local passes_r, passes_t, empty_r, empty_t = 0, 0, nil, nil
  if admitted == 0 or (w.take_r == 0 and w.take_t == 0) then
    passes_r = soonest(w, now, w.length, 1, w.r, w.take_r + w.ahead_r, w.limit_r)
    passes_t = soonest(w, now, w.length, 2, w.t, w.take_t + w.ahead_t, w.limit_t)
  else
    book(w, now + 1, w.length, w.take_r, w.take_t)
    if w.take_r > 0 then empty_r = now + 1 + w.length end
    if w.take_t > 0 then empty_t = now + 1 + w.length end
  end
  answer[#answer + 1] = w.r
  answer[#answer + 1] = w.t
  answer[#answer + 1] = empty_r or empty_at(w, now, w.length, 1, w.r)
  answer[#answer + 1] = empty_t or empty_at(w, now, w.length, 2, w.t)
  answer[#answer + 1] = passes_r
  answer[#answer + 1] = passes_t
end
return answer
