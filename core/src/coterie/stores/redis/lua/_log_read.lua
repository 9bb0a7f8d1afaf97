-- Messages from behind a place on, for anybody.
-- KEYS: the stream, about the topic. ARGV: now, the place (empty: before the first), how many at most, how many
-- patterns of types, these.
-- Answers {the place behind all that was looked at, how many had gone, '1' if nothing lies behind it, messages}, or
-- {'newer', format}.
local MOST = 10000
if newer then
  return newer
end
local after, limit = ARGV[2], tonumber(ARGV[3])
local wanted = chooser(5, tonumber(ARGV[4]))
local found, looked, lost, bytes = {}, 0, 0, 0
local from
if after ~= '' and is_earlier(after) then
  after = ''
end
if after ~= '' then
  from = select(2, parts(after))
end

while #found < limit and looked < MOST and bytes < MOST_BYTES do
  local asked = fitting(wanted and math.max(100, limit - #found) or limit - #found)
  local part = redis.call('XRANGE', stream, after == '' and '-' or '(' .. after, '+', 'COUNT', asked)
  local behind
  for _, entry in ipairs(part) do
    if #found == limit then
      break
    end
    looked, behind = looked + 1, entry[1]
    if not wanted or wanted(type_of(entry[2])) then
      found[#found + 1] = entry
      bytes = bytes + #entry[2][2]
    end
  end
  if behind then
    local _, to = parts(behind)
    -- Who begins before the first message begins with what is there, and has lost nothing.
    from = from or to - looked
    lost, after = to - from - looked, behind
  end
  if #part < asked then
    break
  end
end
local number = after == '' and 0 or select(2, parts(after))
return { after, lost, number >= last_number and '1' or '', found }
