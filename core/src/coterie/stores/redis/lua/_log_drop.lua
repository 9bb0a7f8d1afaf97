-- Removes a topic with all its groups.
-- KEYS: the stream, about the topic, then all others of the topic and of the groups named. ARGV: now, the groups.
-- Answers '1', '' if there was none, 'some' if it has other groups, which must be named as well, or {'newer', format}.
if newer then
  return newer
end
local named = {}
for number = 2, #ARGV do
  named[ARGV[number]] = true
end
if redis.call('EXISTS', stream) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    if not named[group[2]] then
      return 'some'
    end
  end
end
for first = 1, #KEYS, 1000 do
  redis.call('UNLINK', unpack(KEYS, first, math.min(first + 999, #KEYS)))
end
return born and '1' or ''
