-- Some runs of the list of all, the one begun last first.
-- KEYS[1]: the list. ARGV: now (microseconds; empty: the server's clock), the place before which to begin (empty: the
-- end), how many. Answers {now, run, place, run, place, ...}, or the server's error.
local before = ARGV[2] == '' and '+inf' or '(' .. ARGV[2]
local found = redis.pcall('ZREVRANGEBYSCORE', KEYS[1], before, '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
if found.err then
  return found
end
local now = ARGV[1]
if now == '' then
  local clock = redis.call('TIME')
  now = string.format('%.0f', tonumber(clock[1]) * 1000000 + tonumber(clock[2]))
end
local answer = { now }
for number = 1, #found, 2 do
  answer[#answer + 1] = found[number]
  answer[#answer + 1] = string.format('%.0f', tonumber(found[number + 1]))
end
return answer
