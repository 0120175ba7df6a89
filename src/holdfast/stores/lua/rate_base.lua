-- A window is a sorted set of its entries' names by time, and a hash of their amounts:
--   z: name -> microseconds from which the entry counts
--   h: name -> "requests:tokens"; 'r', 't': their sums; 'n': the newest time
-- Names of entries hold a dot, so that none is one of these.
-- Numbers are whole and below 2^53; none is joined to a string, which would round it.

local CHUNK = 500
local FIRST = 4 -- entries that are looked at first, since one of them is nearly always the one; then eight times as many

local function amounts(said)
  if not said then return 0, 0 end -- one of the two keys was evicted
  local r, t = string.match(said, '^(%d+):(%d+)$')
  return tonumber(r), tonumber(t)
end

local function whole(number)
  return string.format('%.0f', number)
end

local function clock(said)
  if said ~= '' then return tonumber(said) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- A window's sums, and one of its entries.
local function open(z, h, entry)
  local said = redis.call('HMGET', h, 'r', 't', 'n', entry)
  return {
    z = z,
    h = h,
    r = tonumber(said[1] or 0),
    t = tonumber(said[2] or 0),
    newest = tonumber(said[3] or 0),
    entry = entry,
    said = said[4],
  }
end

-- Takes out what has left the window.
local function expire(w, now, length)
  if w.newest > 0 and w.newest + length <= now then
    redis.call('UNLINK', w.z, w.h)
    w.r, w.t, w.newest, w.said = 0, 0, 0, false
    return
  end
  while true do
    local gone = redis.call('ZRANGEBYSCORE', w.z, '-inf', now - length, 'LIMIT', 0, CHUNK)
    if #gone == 0 then return end
    for i, said in ipairs(redis.call('HMGET', w.h, unpack(gone))) do
      local r, t = amounts(said)
      w.r, w.t = w.r - r, w.t - t
      if gone[i] == w.entry then w.said = false end
    end
    redis.call('ZREM', w.z, unpack(gone))
    redis.call('HDEL', w.h, unpack(gone))
    redis.call('HSET', w.h, 'r', whole(w.r), 't', whole(w.t))
  end
end

-- Books an entry, or adds to it: all of it counts from the later time. The window is kept a second longer than it counts.
local function book(w, at, length, r, t)
  local had_r, had_t = amounts(w.said)
  w.said = string.format('%.0f:%.0f', had_r + r, had_t + t)
  w.r, w.t, w.newest = w.r + r, w.t + t, math.max(w.newest, at)
  local ttl = math.ceil(length / 1000) + 1000
  redis.call('HSET', w.h, w.entry, w.said, 'r', whole(w.r), 't', whole(w.t), 'n', whole(w.newest))
  redis.call('ZADD', w.z, at, w.entry)
  redis.call('PEXPIRE', w.h, ttl)
  redis.call('PEXPIRE', w.z, ttl)
end

-- Takes from the entry what was never used. What has left the window is not given back again.
local function give_back(w, r, t)
  if not w.said then return end
  local had_r, had_t = amounts(w.said)
  r, t = math.min(r, had_r), math.min(t, had_t)
  w.r, w.t = w.r - r, w.t - t
  if r == had_r and t == had_t then
    w.said = false
    redis.call('HDEL', w.h, w.entry)
    redis.call('ZREM', w.z, w.entry)
    redis.call('HSET', w.h, 'r', whole(w.r), 't', whole(w.t))
  else
    w.said = string.format('%.0f:%.0f', had_r - r, had_t - t)
    redis.call('HSET', w.h, w.entry, w.said, 'r', whole(w.r), 't', whole(w.t))
  end
end

-- When so much of one kind (1: requests, 2: tokens) fits under the limit if nobody else comes.
local function soonest(w, now, length, kind, counted, asked, limit)
  if limit < 0 then return now end
  local rounds, rest = 0, -1
  if asked > 0 then
    rounds = math.floor((asked - 1) / limit)
    rest = asked - 1 - rounds * limit
  end
  local missing = counted + rest + 1 - limit
  if missing <= 0 then return now + rounds * length end
  local from, size = 0, FIRST
  while true do
    local some = redis.call('ZRANGE', w.z, from, from + size - 1, 'WITHSCORES')
    if #some == 0 then return now + (rounds + 1) * length end
    for i = 1, #some, 2 do
      local both = { amounts(redis.call('HGET', w.h, some[i])) }
      missing = missing - both[kind]
      if missing <= 0 then return tonumber(some[i + 1]) + (rounds + 1) * length end
    end
    from, size = from + size, math.min(8 * size, CHUNK)
  end
end

-- When all of one kind is free again if nobody else comes.
local function empty_at(w, now, length, kind, counted)
  if counted <= 0 then return now end
  local from, size = 0, FIRST
  while true do
    local some = redis.call('ZREVRANGE', w.z, from, from + size - 1, 'WITHSCORES')
    if #some == 0 then return now end
    for i = 1, #some, 2 do
      local both = { amounts(redis.call('HGET', w.h, some[i])) }
      if both[kind] > 0 then return tonumber(some[i + 1]) + length end
    end
    from, size = from + size, math.min(8 * size, CHUNK)
  end
end
