-- Appends messages to a topic, all of them or none, and tells.
-- KEYS: the stream, about the topic, copies kept for groups, the ids remembered, those remembered before them.
-- ARGV: now, the channel and what to say there, the most messages (empty: no bound), the longest age in microseconds
-- (empty: none), '1' to refuse rather than to drop what is not done with, for how long ids are remembered in
-- microseconds, the time without messages after which the topic ends in microseconds (empty: never), bytes of the
-- largest text, how much is said of each message, then id, type, text of each, and if 5 things are said, key and
-- priority.
-- Answers the place of each, after `=` if it was there already, {'full'} or {'newer', format}.
local kept, ids, older = KEYS[3], KEYS[4], KEYS[5]
local FIRST, EACH = 11, tonumber(ARGV[10])
local most, age, refuse = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local dedup, idle = tonumber(ARGV[7]), tonumber(ARGV[8])
local count = (#ARGV - FIRST + 1) / EACH

if newer then
  return newer
end
if not born then
  redis.call('UNLINK', kept, ids, older)
end

-- The usual: one message, not known yet, to a topic where it need make no room. Else, all that follows does it.
-- Until ids turn for the first time after it was born, none have been set aside.
if count == 1 and born and known[7] and not known[6] and not idle and now - tonumber(known[8] or '0') < dedup
    and (not age or tonumber(known[7]) >= now - age) and (not most or last_number + 1 - floor <= most) then
  local id, key, priority = ARGV[FIRST], ARGV[FIRST + 3], ARGV[FIRST + 4]
  local place = string.format('%.0f-%.0f', now, last_number + 1)
  local before = known[8] ~= born and redis.call('HGET', older, id)
  if not (before and parts(before) + dedup > now) and redis.call('HSETNX', ids, id, place) == 1 then
    local head = id .. '\n' .. ARGV[FIRST + 1]
    if not key or key == '' and priority == '0' then
      redis.call('XADD', stream, place, head, ARGV[FIRST + 2])
    else
      redis.call('XADD', stream, place, head, ARGV[FIRST + 2], key, priority)
    end
    if tonumber(ARGV[9]) > big then
      redis.call('HSET', about, 'last', place, 'big', ARGV[9])
    else
      redis.call('HSET', about, 'last', place)
    end
    redis.call('PUBLISH', ARGV[2], ARGV[3])
    return { place }
  end
end

-- Which of the messages the topic remembers.
local answer, fresh, seen, names = {}, {}, {}, {}
for number = 1, count do
  names[number] = ARGV[FIRST + (number - 1) * EACH]
end
local lately, before = {}, {}
if dedup > 0 and born then
  lately = redis.call('HMGET', ids, unpack(names))
  before = known[8] ~= born and redis.call('HMGET', older, unpack(names)) or {}
end
for number = 1, count do
  local place = lately[number] or before[number]
  if place and parts(place) + dedup > now then
    answer[number] = '=' .. place
  elseif not seen[names[number]] then
    seen[names[number]] = number
    fresh[#fresh + 1] = number
  end
end

-- The groups of the topic, each with `name` and `last`, the last that it was given.
local function all_groups()
  local groups = redis.call('EXISTS', stream) == 1 and redis.call('XINFO', 'GROUPS', stream) or {}
  for _, group in ipairs(groups) do
    for field = 1, #group, 2 do
      if group[field] == 'name' then
        group.name = group[field + 1]
      elseif group[field] == 'last-delivered-id' then
        group.last = group[field + 1]
      end
    end
  end
  return groups
end

-- How many messages are older than an instant.
local function how_many_before(at)
  local count, from, asked = 0, '-', fitting(1000)
  repeat
    local part = redis.call('XRANGE', stream, from, whole(at - 1), 'COUNT', asked)
    count = count + #part
    from = #part > 0 and '(' .. part[#part][1]
  until #part < asked
  return count
end

-- Whether so many messages could be removed, from a place on, that every group is done with.
local function made_room(needed, from)
  local groups, low = all_groups(), nil
  for _, group in ipairs(groups) do
    if not low or pad(group.last) < pad(low) then
      low = group.last
    end
  end
  local removed = {}
  while low and #removed < needed do
    local part = redis.call('XRANGE', stream, from, low, 'COUNT', fitting(100))
    if #part == 0 then
      break
    end
    local held = {}
    for _, group in ipairs(groups) do
      local pending = redis.call('XPENDING', stream, group.name, part[1][1], part[#part][1], 1000000)
      for _, entry in ipairs(pending) do
        held[entry[1]] = true
      end
    end
    for _, entry in ipairs(part) do
      if not held[entry[1]] and #removed < needed then
        removed[#removed + 1] = entry[1]
      end
    end
    from = '(' .. part[#part][1]
  end
  if #removed < needed then
    return false
  end
  for first = 1, needed, 1000 do
    redis.call('XDEL', stream, unpack(removed, first, math.min(first + 999, needed)))
  end
  redis.call('HSET', about, 'holes', '1')
  return true
end

-- Copies what groups still have to do with, of the messages up to a number, or from before an instant.
local function keep_open(to, before)
  for _, group in ipairs(all_groups()) do
    -- What was dropped before was copied then.
    local from, asked = known[7] or '-', 1
    repeat
      local pending = redis.call('XPENDING', stream, group.name, from, '+', asked)
      local over = #pending < asked
      for _, entry in ipairs(pending) do
        local at, number = parts(entry[1])
        if number > to and at >= before then
          over = true
          break
        end
        local message = redis.call('XRANGE', stream, entry[1], entry[1])[1]
        if message then
          redis.call('HSET', kept, group.name .. ' ' .. entry[1], cmsgpack.pack(message))
        end
        from = '(' .. entry[1]
      end
      asked = 100
    until over
  end
end

-- What is to be noted about the topic.
local changes = {}

-- Notes up to where messages were dropped.
local function sink(newest)
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  local at, number = parts(first and first[1] or whole(now) .. '-' .. whole(newest + 1))
  changes.floor, changes.oldest = whole(number - 1), whole(at)
end

if #fresh > 0 then
  local is_aged = age and tonumber(known[7] or now) < now - age
  if refuse and most then
    local excess = redis.call('XLEN', stream) + #fresh - most
    if excess > 0 and is_aged then
      excess = excess - how_many_before(now - age)
    end
    if excess > 0 and (#fresh > most or not made_room(excess, is_aged and whole(now - age) or '-')) then
      return { 'full' }
    end
  end
  if is_aged then
    keep_open(0, now - age)
    redis.call('XTRIM', stream, 'MINID', '=', whole(now - age) .. '-0')
    sink(last_number)
  end

  local at = whole(now) .. '-'
  local remembered = {}
  for order, number in ipairs(fresh) do
    local first = FIRST + (number - 1) * EACH
    local place = at .. whole(last_number + order)
    local id = ARGV[first]
    local head, text = id .. '\n' .. ARGV[first + 1], ARGV[first + 2]
    if EACH == 3 or ARGV[first + 3] == '' and ARGV[first + 4] == '0' then
      redis.call('XADD', stream, place, head, text)
    else
      redis.call('XADD', stream, place, head, text, ARGV[first + 3], ARGV[first + 4])
    end
    answer[number] = place
    remembered[2 * order - 1], remembered[2 * order] = id, place
  end
  local newest = last_number + #fresh
  if most and not refuse and newest - floor > most and redis.call('XLEN', stream) > most then
    keep_open(newest - most, 0)
    redis.call('XTRIM', stream, 'MAXLEN', '=', most)
    sink(newest)
  end
  changes.last = answer[fresh[#fresh]]
  if tonumber(ARGV[9]) > big then
    changes.big = ARGV[9]
  end
  if not born then
    changes.v, changes.born = FORMAT, whole(now)
  end
  if not known[7] then
    changes.oldest = whole(now)
  end

  -- Ids lie in two parts, and the older one goes as a whole: between one and two times as long as they are needed.
  if dedup > 0 then
    local turned = tonumber(known[8] or '0')
    local turns = now - turned >= dedup
    if turns then
      if redis.call('EXISTS', ids) == 1 then
        redis.call('RENAME', ids, older)
      end
      changes.turned = whole(now)
    end
    redis.call('HSET', ids, unpack(remembered))
    if turns then
      redis.call('PEXPIRE', ids, whole(math.ceil(2 * dedup / 1000) + 1000))
    end
  end
  local noted = {}
  for field, value in pairs(changes) do
    noted[#noted + 1] = field
    noted[#noted + 1] = value
  end
  redis.call('HSET', about, unpack(noted))
  if idle then
    redis.call('HSET', about, 'idle', whole(idle))
    for _, key in ipairs({ stream, about, kept }) do
      redis.call('PEXPIRE', key, whole(math.ceil(idle / 1000)))
    end
  elseif known[6] then
    redis.call('HDEL', about, 'idle')
    for _, key in ipairs({ stream, about, kept }) do
      redis.call('PERSIST', key)
    end
  end
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end

for number = 1, count do
  if not answer[number] then
    answer[number] = '=' .. answer[seen[names[number]]]
  end
end
return answer
