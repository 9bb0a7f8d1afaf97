-- What every script over a group has, after _log_topic.lua. Natively, messages that somebody holds are pending for that
-- consumer, and those that nobody holds, but that the group has got to, for one named WAITING, which no real one can
-- be.
-- KEYS, all of one slot: the stream, about the topic; copies of messages that were dropped while groups had to do with
-- them (of all groups); the group's hash: `born` (of the topic it belongs to), `pos` (the last place that it got to),
-- `ageing` (microseconds, where it goes by priority), `lost` (not told yet), `gone` (the number up to which that was
-- counted), `turn` (the number of the last take that changed what somebody holds), `early` (when to look again because
-- of `d:`), and of messages by place `k:` their key, `m:` how often they were delivered, and failures, `d:` when they
-- are due, if they wait behind another one, and by key `b:` the place of the one that goes first; leases: when
-- consumers are taken for dead, and below zero, after a tab, for how long they have theirs, and after a line feed, the
-- last turn of theirs, unless what they hold was changed otherwise since; ready: who may be delivered, in order; due:
-- who will be, and when; wait: who waits behind another one of its key, by key and place; dead: the places of dead
-- letters; letters: these, and those that were requeued; aside: who holds of the latter, or of copies, what.
-- ARGV: now, the channel and what to say there, the group.
local kept, group, leases, ready, due, wait = KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local dead, letters, aside = KEYS[9], KEYS[10], KEYS[11]
local WAITING = '\twaiting'
local MOST_PRIORITY = 1000
local name = ARGV[4]

local facts = redis.call('HMGET', group, 'born', 'pos', 'ageing', 'lost', 'gone', 'turn', 'early')
local is_there = born and not newer and facts[1] == born
local pos, ageing, lost = facts[2], tonumber(facts[3] or ''), tonumber(facts[4] or '0')
-- Whether others may find something to take that they did not before.
local freed = false

-- Whether anything is noted about messages: mostly, nothing is.
local is_noted = false
if is_there then
  local plain = 0
  for fact = 1, 7 do
    plain = plain + (facts[fact] and 1 or 0)
  end
  is_noted = redis.call('HLEN', group) > plain
end

-- What every script that may have freed, lost, or left something ends with.
local function conclude()
  if lost > 0 then
    redis.call('HSET', group, 'lost', whole(lost))
  elseif facts[4] then
    redis.call('HDEL', group, 'lost')
  end
  if known[6] then
    -- The group ends with its topic, at the latest when that would have twice.
    for number = 3, #KEYS do
      redis.call('PEXPIRE', KEYS[number], whole(math.ceil(tonumber(known[6]) / 500)))
    end
  end
  if freed then
    redis.call('PUBLISH', ARGV[2], ARGV[3])
  end
end

local function copy(key, field)
  local packed = redis.call('HGET', key, field)
  return packed and cmsgpack.unpack(packed)
end

-- A message, wherever it still lies; nil: nowhere.
local function message_at(id)
  local message = redis.call('XRANGE', stream, id, id)[1] or copy(letters, id) or copy(kept, name .. ' ' .. id)
  return message and { message[1], message[2] } or nil
end

-- How often a message was delivered that a consumer holds; nil: it does not hold it.
local function held_by(id, consumer)
  local pending = redis.call('XPENDING', stream, name, id, id, 1, consumer)[1]
  if pending then
    return pending[4]
  end
  local count, holder = string.match(redis.call('HGET', aside, id) or '', '^(%d+) (.*)$')
  return holder == consumer and tonumber(count) or nil
end

-- All that a consumer holds: {place, how often it was delivered}.
local function all_held(consumer)
  local found, from = {}, '-'
  repeat
    local part = redis.call('XPENDING', stream, name, from, '+', 1000, consumer)
    for _, entry in ipairs(part) do
      found[#found + 1] = { entry[1], entry[4] }
      from = '(' .. entry[1]
    end
  until #part < 1000
  local others = redis.call('HGETALL', aside)
  for field = 1, #others, 2 do
    local count, holder = string.match(others[field + 1], '^(%d+) (.*)$')
    if holder == consumer then
      found[#found + 1] = { others[field], tonumber(count) }
    end
  end
  return found
end

-- Who holds any, maybe twice.
local function all_holders()
  local found = {}
  for _, pending in ipairs(redis.call('XPENDING', stream, name)[4] or {}) do
    found[#found + 1] = pending[1]
  end
  for _, held in ipairs(redis.call('HVALS', aside)) do
    found[#found + 1] = string.match(held, '^%d+ (.*)$')
  end
  return found
end

-- How often it was delivered, as far as that counts, and why that came to nothing, as JSON without brackets.
local function noted(id)
  local tries, failures = string.match(redis.call('HGET', group, 'm:' .. id) or '0;', '^(%d+);(.*)$')
  return tonumber(tries), failures
end

local function note(id, tries, failures)
  if tries > 0 or failures ~= '' then
    redis.call('HSET', group, 'm:' .. id, whole(tries) .. ';' .. failures)
    is_noted = true
  else
    redis.call('HDEL', group, 'm:' .. id)
  end
end

local function with_failure(failures, consumer, reason)
  local one = '[' .. whole(now) .. ',' .. cjson.encode(consumer) .. ',' .. cjson.encode(reason) .. ']'
  return failures == '' and one or failures .. ',' .. one
end

-- Has a message delivered when its turn comes.
local function make_ready(id)
  local place = 0
  if ageing then
    local message = message_at(id)
    local priority = tonumber(message and message[2][4] or '0')
    place = parts(id) - math.max(-MOST_PRIORITY, math.min(MOST_PRIORITY, priority)) * ageing
  end
  redis.call('ZADD', ready, whole(place), pad(id))
  freed = true
end

local function make_due(id, at)
  if at > now then
    redis.call('ZADD', due, whole(at), pad(id))
    freed = true
  else
    make_ready(id)
  end
end

local function make_wait(id, key)
  redis.call('ZADD', wait, 0, #key .. ':' .. key .. ':' .. pad(id))
end

-- Has a message wait behind another one of its key, and at least until an instant.
local function put_behind(id, key, at)
  make_wait(id, key)
  if at > now then
    redis.call('HSET', group, 'd:' .. id, whole(at))
    if not facts[7] or at < tonumber(facts[7]) then
      facts[7] = whole(at)
      redis.call('HSET', group, 'early', facts[7])
    end
  end
end

-- Who waits longest behind the one of a key that goes first.
local function next_of(key)
  local prefix = #key .. ':' .. key .. ':'
  local member = redis.call('ZRANGEBYLEX', wait, '[' .. prefix, '[' .. prefix .. '\255', 'LIMIT', 0, 1)[1]
  return member and unpad(string.sub(member, #prefix + 1)), member
end

-- The next one of a key goes first now.
local function promote(key)
  local id, member = next_of(key)
  if id then
    redis.call('ZREM', wait, member)
    redis.call('HSET', group, 'b:' .. key, id)
    local at = redis.call('HGET', group, 'd:' .. id)
    if at then
      redis.call('HDEL', group, 'd:' .. id)
    end
    make_due(id, tonumber(at or '0'))
  else
    redis.call('HDEL', group, 'b:' .. key)
  end
end

-- Nothing is to be noted about a message any more, and it stands in nobody's way.
local function forget(id)
  if is_noted then
    local key = redis.call('HGET', group, 'k:' .. id)
    redis.call('HDEL', group, 'm:' .. id, 'k:' .. id)
    if key then
      promote(key)
    end
  end
end

-- The same of many.
local function forget_all(ids)
  local notes, keys, free = {}, {}, {}
  for number, id in ipairs(ids) do
    keys[number], notes[2 * number - 1], notes[2 * number] = 'k:' .. id, 'k:' .. id, 'm:' .. id
  end
  keys = redis.call('HMGET', group, unpack(keys))
  redis.call('HDEL', group, unpack(notes))
  local nobody_waits = redis.call('EXISTS', wait) == 0
  for number = 1, #ids do
    if keys[number] and nobody_waits then
      free[#free + 1] = 'b:' .. keys[number]
    elseif keys[number] then
      promote(keys[number])
    end
  end
  if #free > 0 then
    redis.call('HDEL', group, unpack(free))
  end
end

-- The group is done with a message for good.
local function close(id)
  redis.call('XACK', stream, name, id)
  redis.call('HDEL', aside, id)
  redis.call('HDEL', letters, id)
  redis.call('HDEL', kept, name .. ' ' .. id)
  forget(id)
end

-- Nobody holds a message any more; it is delivered again, at an instant at the earliest.
local function put_back(id, at)
  redis.call('HDEL', aside, id)
  redis.call('XCLAIM', stream, name, WAITING, 0, id, 'JUSTID')
  local key = is_noted and redis.call('HGET', group, 'k:' .. id)
  local earlier = key and next_of(key)
  if earlier and pad(earlier) < pad(id) then
    -- One that was requeued comes before it.
    put_behind(id, key, at)
    promote(key)
  else
    make_due(id, at)
  end
end

-- Makes a message a dead letter, if it still lies anywhere: {message, how often it was delivered, failures}.
local function bury(id, tries, failures)
  local message = message_at(id)
  if not message then
    lost = lost + 1
    close(id)
    return nil
  end
  close(id)
  redis.call('HSET', letters, id, cmsgpack.pack({ message[1], message[2], tries, failures }))
  redis.call('ZADD', dead, 0, pad(id))
  return { message, tries, failures }
end

-- Gives to others what a consumer holds. reason: why its deliveries count, nil: they do not. most: after so many, a
-- message is dead; the dead letters are added to `buried`.
local function let_go(consumer, reason, most, buried)
  local held = all_held(consumer)
  for _, entry in ipairs(held) do
    local id, tries = entry[1], entry[2]
    local _, failures = noted(id)
    if reason then
      failures = with_failure(failures, consumer, reason)
    else
      tries = tries - 1
    end
    if most and tries >= most then
      buried[#buried + 1] = bury(id, tries, failures)
    else
      note(id, tries, failures)
      put_back(id, now)
    end
  end
  redis.call('XGROUP', 'DELCONSUMER', stream, name, consumer)
  redis.call('ZREM', leases, consumer, '\t' .. consumer, '\n' .. consumer)
  return #held
end

-- Is done with what a consumer holds of the places from ARGV[first] on; answers those that it does not.
-- is_sure: it does hold them.
local function acknowledge(consumer, first, is_sure)
  local stale, done, others, own = {}, {}, {}, {}
  if #ARGV < first then
    return stale
  end
  local is_plain = redis.call('EXISTS', kept, aside) == 0
  if is_sure and is_plain then
    done = { unpack(ARGV, first) }
  else
    for _, entry in ipairs(redis.call('XPENDING', stream, name, '-', '+', 1000000, consumer)) do
      own[entry[1]] = true
    end
    for number = first, #ARGV do
      local to = own[ARGV[number]] and done or others
      to[#to + 1] = ARGV[number]
    end
  end
  if #done > 0 then
    redis.call('XACK', stream, name, unpack(done))
    if is_noted then
      forget_all(done)
    end
    for number = 1, is_plain and 0 or #done do
      redis.call('HDEL', kept, name .. ' ' .. done[number])
    end
  end
  for _, id in ipairs(others) do
    if held_by(id, consumer) then
      close(id)
    else
      stale[#stale + 1] = id
    end
  end
  return stale
end
