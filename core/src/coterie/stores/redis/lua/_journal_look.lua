-- Reads texts of a run's main shelf.
-- KEYS: the main shelf, what is kept about the run. ARGV: now (microseconds; empty: the server's clock), the paths.
-- Answers {now, the run's version (nothing: there is no run), each text or nothing}, or the server's error.
local about = redis.pcall('HGET', KEYS[2], 'changed')
if type(about) == 'table' and about.err then
  return about
end
local now = ARGV[1]
if now == '' then
  local clock = redis.call('TIME')
  now = string.format('%.0f', tonumber(clock[1]) * 1000000 + tonumber(clock[2]))
end
local answer = { now, about }
for first = 2, #ARGV, 1000 do
  local found = redis.pcall('HMGET', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
  if found.err then
    return found
  end
  for _, text in ipairs(found) do
    answer[#answer + 1] = text
  end
end
return answer
