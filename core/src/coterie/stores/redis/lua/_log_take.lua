-- Acknowledges, hears of a consumer, and gives it messages.
-- KEYS, ARGV 1 to 4: see _log_group.lua. Then the consumer, its lease in microseconds, the most deliveries, the ageing
-- in microseconds (empty: not by priority), where a group begins (empty: with the first message, `end`, or a place),
-- how many it wants, how many may wait, why who is late is dead, with `?` for its lease, how many patterns of types,
-- these; the last turn of the consumer, if all that is done is what it was given until then (empty: not known); how
-- many places follow that it knows that it holds (-1: none follow, it knows of all), these; and what is done.
-- Answers {messages in order, of those of them that were delivered before, or have failed: number in that order, how
-- often and failures, dead letters, how many were lost, who were not held, seconds until there may be more (empty:
-- unknown), the consumer's turn, '1' if nothing else changed what it holds since the one given}, or {'newer', format}.
local consumer, lease, most = ARGV[5], ARGV[6], tonumber(ARGV[7])
local begin, limit, most_waiting = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local LOOKED, TYPES = 5000, 14
local wanted = chooser(TYPES, tonumber(ARGV[TYPES - 1]))
local turn_at = TYPES + tonumber(ARGV[TYPES - 1])
local first_known = turn_at + 2
local first_done = first_known + math.max(0, tonumber(ARGV[turn_at + 1]))

if newer then
  return newer
end

if not is_there then
  -- The group begins; what may be left of one of its name belonged to a topic that is gone.
  redis.call('UNLINK', group, leases, ready, due, wait, dead, letters, aside)
  pos, ageing, lost, facts, is_noted = last, nil, 0, {}, false
  if begin == '' or begin ~= 'end' and is_earlier(begin) then
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if first then
      local at, number = parts(first[1])
      pos = number == 1 and '0-0' or whole(at) .. '-' .. whole(number - 1)
    end
  elseif begin ~= 'end' then
    pos = begin
  end
  if born then
    redis.pcall('XGROUP', 'DESTROY', stream, name)
  else
    born = whole(now)
    redis.call('HSET', about, 'v', FORMAT, 'born', born)
  end
  redis.call('XGROUP', 'CREATE', stream, name, pos, 'MKSTREAM')
  redis.call('HSET', group, 'born', born, 'pos', pos)
end
if ARGV[8] ~= (facts[3] or '') or not is_there then
  ageing = tonumber(ARGV[8])
  if ageing then
    redis.call('HSET', group, 'ageing', ARGV[8])
  else
    redis.call('HDEL', group, 'ageing')
  end
  for _, member in ipairs(redis.call('ZRANGE', ready, 0, -1)) do
    make_ready(unpad(member))
  end
end
local _, pos_number = parts(pos)

local turn, is_sure = ARGV[turn_at], false
if turn ~= '' then
  is_sure = -tonumber(redis.call('ZSCORE', leases, '\n' .. consumer) or '0') == tonumber(turn)
end
local stale = acknowledge(consumer, first_done, is_sure)

-- What it was given without hearing of it goes to others: it would hold that for ever.
if first_known <= first_done and ARGV[turn_at + 1] ~= '-1' then
  local own = {}
  for number = first_known, first_done - 1 do
    own[ARGV[number]] = true
  end
  for _, entry in ipairs(all_held(consumer)) do
    if not own[entry[1]] then
      local _, failures = noted(entry[1])
      note(entry[1], entry[2] - 1, failures)
      put_back(entry[1], now)
    end
  end
end

-- Who is there.
local buried = {}
redis.call('ZADD', leases, whole(now + tonumber(lease)), consumer, '-' .. lease, '\t' .. consumer)
for _, late in ipairs(redis.call('ZRANGEBYSCORE', leases, 0, whole(now))) do
  local seconds = string.format('%g', -tonumber(redis.call('ZSCORE', leases, '\t' .. late)) / 1000000)
  let_go(late, (string.gsub(ARGV[12], '%?', seconds)), most, buried)
end

-- What was dropped before the group got to it.
if floor > math.max(pos_number, tonumber(facts[5] or '0')) then
  lost = lost + floor - math.max(pos_number, tonumber(facts[5] or '0'))
  redis.call('HSET', group, 'gone', whole(floor))
end

-- What may be delivered again.
local entries, again = {}, {}
local is_waiting = redis.call('EXISTS', ready, due, wait) > 0
local function give_ready()
  while #entries < limit do
    local members = redis.call('ZRANGE', ready, 0, fitting(limit - #entries) - 1)
    if #members == 0 then
      return
    end
    local ids, plain, tries, failures, found = {}, {}, {}, {}, {}
    for number, member in ipairs(members) do
      local id = unpad(member)
      ids[number], tries[id], failures[id] = id, 0, ''
      if is_noted then
        tries[id], failures[id] = noted(id)
      end
      if tries[id] >= most then
        -- Who waits behind it may come before those that follow here.
        members = { unpack(members, 1, number) }
        break
      end
      if tries[id] == 0 then
        plain[#plain + 1] = id
      end
    end
    redis.call('ZREM', ready, unpack(members))
    if #plain > 0 then
      local command = { 'XCLAIM', stream, name, consumer, 0 }
      for _, id in ipairs(plain) do
        command[#command + 1] = id
      end
      command[#command + 1] = 'RETRYCOUNT'
      command[#command + 1] = 1
      for _, entry in ipairs(redis.call(unpack(command))) do
        if entry then
          found[entry[1]] = entry
        end
      end
    end
    for _, id in ipairs(ids) do
      if tries[id] >= most then
        buried[#buried + 1] = bury(id, tries[id], failures[id])
      else
        local entry = found[id]
        if not entry and tries[id] > 0 then
          entry = redis.call('XCLAIM', stream, name, consumer, 0, id, 'RETRYCOUNT', tries[id] + 1)[1]
        end
        if not entry then
          -- It is natively nobody's: it was dropped, or it was a dead letter.
          entry = message_at(id)
          redis.call('XACK', stream, name, id)
          if entry then
            redis.call('HSET', aside, id, whole(tries[id] + 1) .. ' ' .. consumer)
          end
        end
        if entry then
          entries[#entries + 1] = entry
          if tries[id] > 0 or failures[id] ~= '' then
            again[#again + 1] = #entries - 1
            again[#again + 1] = tries[id] + 1
            again[#again + 1] = failures[id]
          end
        else
          lost = lost + 1
          close(id)
        end
      end
    end
  end
end

-- Whether a message that was read may be delivered, or becomes ready; else it waits, or is passed over.
local passed, parked, keyed = {}, {}, {}
local function sort_in(entry)
  local id, fields = entry[1], entry[2]
  if wanted and not wanted(type_of(fields)) then
    passed[#passed + 1] = id
    return false
  end
  local key = fields[3]
  if key and key ~= '' then
    is_noted = true
    keyed[#keyed + 1] = 'k:' .. id
    keyed[#keyed + 1] = key
    if redis.call('HSETNX', group, 'b:' .. key, id) == 0 then
      make_wait(id, key)
      parked[#parked + 1] = id
      is_waiting = true
      return false
    end
  end
  return true
end

local function how_many_wait()
  return is_waiting and redis.call('ZCARD', ready) + redis.call('ZCARD', due) + redis.call('ZCARD', wait) or 0
end

-- New ones, by the group's own cursor.
local looked = 0
local function read_on()
  while pos_number < last_number and looked < LOOKED do
    local room = most_waiting - how_many_wait()
    local asked = fitting(math.min(room, ageing and 100 or limit - #entries))
    if room <= 0 or not ageing and #entries >= limit then
      break
    end
    local reader = ageing and WAITING or consumer
    local reply = redis.call('XREADGROUP', 'GROUP', name, reader, 'COUNT', asked, 'STREAMS', stream, '>')
    if not reply then
      pos, pos_number = last, last_number
      break
    end
    local part = reply[1][2]
    pos = part[#part][1]
    _, pos_number = parts(pos)
    looked = looked + #part
    local is_plain = not wanted and not ageing and #entries == 0
    for _, entry in ipairs(part) do
      is_plain = is_plain and not entry[2][3]
    end
    if is_plain then
      entries, part = part, {}
    end
    for _, entry in ipairs(part) do
      if sort_in(entry) then
        if ageing then
          local priority = math.max(-MOST_PRIORITY, math.min(MOST_PRIORITY, tonumber(entry[2][4] or '0')))
          redis.call('ZADD', ready, whole(parts(entry[1]) - priority * ageing), pad(entry[1]))
          is_waiting = true
        else
          entries[#entries + 1] = entry
        end
      end
    end
    if #keyed > 0 then
      redis.call('HSET', group, unpack(keyed))
      keyed = {}
    end
    if #passed > 0 then
      redis.call('XACK', stream, name, unpack(passed))
      passed = {}
    end
    if #parked > 0 then
      if not ageing then
        local command = { 'XCLAIM', stream, name, WAITING, 0 }
        for _, id in ipairs(parked) do
          command[#command + 1] = id
        end
        command[#command + 1] = 'JUSTID'
        redis.call(unpack(command))
      end
      parked = {}
    end
  end
end

if is_waiting then
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', whole(now))) do
    redis.call('ZREM', due, member)
    make_ready(unpad(member))
  end
end
if ageing then
  if limit > 0 then
    read_on()
  end
  give_ready()
else
  if is_waiting then
    give_ready()
  end
  read_on()
end

local told = lost
lost = 0
if pos ~= facts[2] or #entries > 0 or #ARGV >= first_done or not is_sure then
  turn = whole(tonumber(facts[6] or now) + 1)
  redis.call('HSET', group, 'pos', pos, 'turn', turn)
  redis.call('ZADD', leases, '-' .. turn, '\n' .. consumer)
end

-- When there may be more.
local wakes = ''
local is_cut = looked >= LOOKED and pos_number < last_number
if (#entries == limit or is_cut) and (is_waiting and redis.call('EXISTS', ready) == 1
    or pos_number < last_number and how_many_wait() < most_waiting) then
  wakes = '0'
else
  local until_due
  if is_waiting then
    until_due = tonumber(redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2])
  end
  if facts[7] and tonumber(facts[7]) <= now then
    redis.call('HDEL', group, 'early')
  elseif facts[7] then
    until_due = math.min(until_due or math.huge, tonumber(facts[7]))
  end
  for _, other in ipairs(all_holders()) do
    local ends = other ~= consumer and tonumber(redis.call('ZSCORE', leases, other) or '')
    if ends and (not until_due or ends < until_due) then
      until_due = ends
    end
  end
  if until_due then
    wakes = string.format('%.6f', math.max(0, until_due - now) / 1000000)
  end
end
freed = freed and wakes ~= ''
conclude()
return { entries, again, buried, told, stale, wakes, turn, is_sure and '1' or '' }
