-- What all scripts of the breakers' states begin with; the twin in Python is stores/breaker_state.py.
-- KEYS  1 about (hash: born, version)  2 changed (sorted set: target by version)  3 circuits (hash: target -> packed)
--       4 probes out of the one target (sorted set: id by the end of its lease)
-- ARGV  1 now in ms, empty: the server's own  2 time to live in ms  3 most targets  4 target  5... the operation's own
local about, changed, circuits, probes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl, most_targets, target = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local now_us
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
else
  now_us = ARGV[1] * 1000
end
local now = math.floor(now_us / 1000)

-- Without an exponent: Lua writes 14 digits, and microseconds have 16.
local function whole(number)
  return string.format('%.0f', number)
end

-- What another version may have left there is as good as nothing.
local function unpack_circuit(packed)
  local epoch, open, till, times, successes, by = string.match(packed, '^(%d+) (%d) (%d+) (%d+) (%d+) (.*)$')
  return epoch and {
    epoch = tonumber(epoch), open = tonumber(open), till = tonumber(till), times = tonumber(times),
    successes = tonumber(successes), by = by,
  }
end

local function read()
  local packed = redis.call('HGET', circuits, target)
  return packed and unpack_circuit(packed) or nil
end

local function write(circuit)
  local packed = table.concat({
    whole(circuit.epoch), circuit.open, whole(circuit.till), whole(circuit.times), whole(circuit.successes),
    circuit.by,
  }, ' ')
  redis.call('HSET', circuits, target, packed)
  redis.call('PEXPIRE', circuits, ttl)
end

local function lapse()
  redis.call('ZREMRANGEBYSCORE', probes, '-inf', whole(now))
end

-- Beyond the most targets the one that changed longest ago is forgotten.
local function note()
  if redis.call('EXISTS', about) == 0 then
    redis.call('HSET', about, 'born', whole(now_us + 1))
  end
  redis.call('ZADD', changed, redis.call('HINCRBY', about, 'version', 1), target)
  while redis.call('ZCARD', changed) > most_targets do
    redis.call('HDEL', circuits, redis.call('ZPOPMIN', changed)[1])
  end
  redis.call('PEXPIRE', about, ttl)
  redis.call('PEXPIRE', changed, ttl)
end

-- An epoch that isn't newer changes nothing; a newer one ends the probes of those before it.
local function put(epoch, open, open_ms, times, by)
  local known = read()
  if known and epoch <= known.epoch or epoch <= 0 then
    return
  end
  local is_open = open == 1
  write({
    epoch = epoch, open = open, till = is_open and now + open_ms or 0, times = is_open and times or 0,
    successes = 0, by = by,
  })
  redis.call('DEL', probes)
  note()
end

-- verdict: the number of the answer to who asks for a probe's place; 0 for all others.
local function standing(verdict)
  lapse()
  local circuit = read()
  if not circuit then
    return {verdict, now, 0}
  end
  return {
    verdict, now, redis.call('ZCARD', probes), circuit.epoch, circuit.open, circuit.till, circuit.times,
    circuit.successes, circuit.by,
  }
end
