-- Writes and removes texts of one shelf of a run, all of them or none, if other texts of its main shelf are what they
-- are expected to be.
-- KEYS: the main shelf, what is kept about the run, the names of its other shelves, the shelf to write to.
-- ARGV: now (microseconds; empty: the server's clock), '1' if the run was put on the list of all a moment ago, the name
-- of the shelf (empty: main), how many texts are expected, their paths, for each of them '1' or '0' (there is none) and
-- the text; how many are written, for each its path and text; the paths to remove.
-- Answers {'done', now, version}, {'changed', now, version, each text that was expected, or nothing},
-- {'unlisted', now} where this is the run's first text and it is not on the list yet, or the server's error.
local main, about, shelves, shelf = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local AT_ONCE = 1000

local now = ARGV[1]
if now == '' then
  local clock = redis.call('TIME')
  now = string.format('%.0f', tonumber(clock[1]) * 1000000 + tonumber(clock[2]))
end

-- All that could find a key of another kind comes before anything is written.
local version = redis.pcall('HGET', about, 'changed')
for _, look in ipairs({ version, redis.pcall('HLEN', main), redis.pcall('HLEN', shelf), redis.pcall('SCARD', shelves) }) do
  if type(look) == 'table' and look.err then
    return look
  end
end

local last_path = 4 + tonumber(ARGV[4])
local at = last_path + 1
local conflict, holds = { 'changed', now, version }, true
for first = 5, last_path, AT_ONCE do
  local found = redis.call('HMGET', main, unpack(ARGV, first, math.min(first + AT_ONCE - 1, last_path)))
  for _, text in ipairs(found) do
    holds = holds and text == (ARGV[at] == '1' and ARGV[at + 1])
    conflict[#conflict + 1] = text
    at = at + 2
  end
end
if not holds then
  return conflict
end

local last_written = at + 2 * tonumber(ARGV[at])
at = at + 1
if at > #ARGV or (not version and at > last_written) then
  -- There is nothing to write, or nothing that could be removed.
  return { 'done', now, version }
end
if not version and ARGV[2] ~= '1' then
  return { 'unlisted', now }
end

-- The first command that writes is the one that a server without memory, without a disk, or that has become a replica
-- refuses; then nothing was done. What follows it is not refused.
local function each_part(command, key, first, last)
  for start = first, last, AT_ONCE do
    local done = redis.pcall(command, key, unpack(ARGV, start, math.min(start + AT_ONCE - 1, last)))
    if type(done) == 'table' and done.err then
      return done
    end
  end
end
local failed = each_part('HSET', shelf, at, last_written) or each_part('HDEL', shelf, last_written + 1, #ARGV)
if failed then
  return failed
end
if ARGV[3] ~= '' and last_written >= at then
  redis.call('SADD', shelves, ARGV[3])
end
local changed = now
if not version then
  redis.call('HSET', about, 'begun', now)
elseif tonumber(now) <= tonumber(version) then
  -- Versions only grow, whatever the clock does.
  changed = string.format('%.0f', tonumber(version) + 1)
end
redis.call('HSET', about, 'changed', changed)
return { 'done', now, changed }
