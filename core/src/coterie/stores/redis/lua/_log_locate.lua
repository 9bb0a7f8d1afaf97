-- Where a topic's messages begin that were appended at an instant or later.
-- KEYS: the stream, about the topic. ARGV: now, the instant (microseconds; empty: the end).
-- Answers the place before them (empty: before the first), or {'newer', format}.
if newer then
  return newer
end
local at = tonumber(ARGV[2])
local behind = at and redis.call('XRANGE', stream, ARGV[2], '+', 'COUNT', 1)[1]
if not behind then
  return last == '0-0' and '' or last
end
local behind_at, number = parts(behind[1])
local before = at > 0 and redis.call('XREVRANGE', stream, whole(at - 1), '-', 'COUNT', 1)[1]
if before and select(2, parts(before[1])) == number - 1 then
  return before[1]
end
return number == 1 and '' or whole(behind_at) .. '-' .. whole(number - 1)
