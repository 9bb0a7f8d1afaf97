-- Some dead letters of a group, in the order of the log.
-- KEYS, ARGV 1 to 4: see _log_group.lua. Then the place after which to begin (empty: the first), how many.
-- Answers {'1' if there are more, {message, deliveries, failures} of each}, or {'newer', format}.
if newer then
  return newer
end
local answer = { '' }
if not is_there then
  return answer
end
local from = ARGV[5] == '' and '-' or '(' .. pad(ARGV[5])
local limit = fitting(tonumber(ARGV[6]))
local members = redis.call('ZRANGEBYLEX', dead, from, '+', 'LIMIT', 0, limit + 1)
for number = 1, math.min(#members, limit) do
  local letter = copy(letters, unpad(members[number]))
  answer[#answer + 1] = { { letter[1], letter[2] }, letter[3], letter[4] }
end
answer[1] = #members > limit and '1' or ''
return answer
