-- Gives back what was not used, and books what was used beyond it as of now.
-- KEYS: z and h of each window; one may stand there more than once.
-- ARGV: now (empty: the server's), then of each window: length, the entry's name, what is given back (requests, tokens), the
--   name under which more is booked, and how much (requests, tokens).
local WIDTH = 7
local now = clock(ARGV[1])
for i = 1, #KEYS / 2 do
  local at = 1 + (i - 1) * WIDTH
  local z, h, length = KEYS[2 * i - 1], KEYS[2 * i], tonumber(ARGV[at + 1])
  give_back(open(z, h, ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]))
  local more_r, more_t = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  if more_r > 0 or more_t > 0 then
    local w = open(z, h, ARGV[at + 5])
    book(w, math.max(now, w.newest - 1) + 1, length, more_r, more_t)
  end
end
return 1
