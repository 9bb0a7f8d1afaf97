-- What every script over a log begins with: the time, and places. A message's id in its stream, and its position, is
-- `<at>-<number>`: microseconds since the epoch, which never go back, and a number that counts the topic's messages
-- from 1 without a gap. So how many have gone is told by subtraction. It has one field, `<id>\n<type>` with the text,
-- and where it has a key or a priority, a second one, the key with the priority: what is read by a script costs by the
-- piece.
-- KEYS[1]: the stream. KEYS[2]: what is kept about the topic: `v` (the format), `born`, `last` (the newest place),
-- `big` (bytes of its largest text), `floor` (the number up to which messages were dropped), `holes` (1 if some were
-- removed from between others), `idle` (microseconds after which it ends), `oldest` (no message is older), `turned`
-- (when ids were last set aside).
-- ARGV[1]: now (microseconds; empty: the server's clock).
local stream, about = KEYS[1], KEYS[2]
local FORMAT = '1'
-- So many bytes of texts are looked at in one call, as others wait meanwhile.
local MOST_BYTES = 4194304

local now = tonumber(ARGV[1])
if not now then
  local clock = redis.call('TIME')
  now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
end

local function whole(number)
  return string.format('%.0f', number)
end

-- The instant and the number of a place.
local function parts(id)
  local at, number = string.match(id, '^(%d+)%-(%d+)$')
  return tonumber(at), tonumber(number)
end

local known = redis.call('HMGET', about, 'v', 'born', 'last', 'big', 'floor', 'idle', 'oldest', 'turned')
-- Not an error of the server's: whoever asked learns what it is.
local newer = known[1] and known[1] ~= FORMAT and { 'newer', known[1] }
local idle_ended = known[6] and not newer and now - parts(known[3]) > tonumber(known[6])
if idle_ended then
  redis.call('UNLINK', stream, about)
  known = {}
end
local born, last = known[2], known[3] or '0-0'
local big, floor = tonumber(known[4] or '0'), tonumber(known[5] or '0')
local last_at, last_number = parts(last)
-- Times within a topic never go back, whatever the clock does.
now = math.max(now, last_at)

-- Whether a place is of an earlier topic of this name, all of which comes before this one.
local function is_earlier(id)
  return born ~= nil and born ~= false and parts(id) < tonumber(born)
end

-- A place as text that sorts as places do, and back.
local function pad(id)
  return string.format('%016.0f-%016.0f', parts(id))
end

local function unpad(member)
  local at, number = parts(member)
  return whole(at) .. '-' .. whole(number)
end

-- The type of a message, by its fields.
local function type_of(fields)
  return string.match(fields[1], '\n(.*)$')
end

-- How many messages to ask for, of `wanted`, so that not too many bytes come.
local function fitting(wanted)
  return math.max(1, math.min(wanted, math.floor(MOST_BYTES / math.max(big, 1))))
end

-- What tells whether a type is wanted, by patterns from ARGV[first] on: `=type`, or `~` and a pattern of Lua's. nil:
-- all are.
local function chooser(first, count)
  if count == 0 then
    return nil
  end
  local names, patterns = {}, {}
  for number = first, first + count - 1 do
    local text = string.sub(ARGV[number], 2)
    if string.sub(ARGV[number], 1, 1) == '=' then
      names[text] = true
    else
      patterns[#patterns + 1] = text
    end
  end
  return function(type)
    local wanted = names[type]
    if wanted == nil then
      wanted = false
      for _, pattern in ipairs(patterns) do
        wanted = wanted or string.find(type, pattern) ~= nil
      end
      names[type] = wanted
    end
    return wanted
  end
end
