-- How far a group is.
-- KEYS, ARGV 1 to 4: see _log_group.lua.
-- Answers {} if there is none, {place, unread, held, waiting, dead, of each consumer name, held, when it is taken for
-- dead}, or {'newer', format}.
if newer then
  return newer
end
if not is_there then
  return {}
end
local _, number = parts(pos)
local unread = math.max(0, last_number - math.max(number, floor))
if unread > 0 and redis.call('HEXISTS', about, 'holes') == 1 then
  local from, asked = pos, fitting(1000)
  unread = 0
  repeat
    local part = redis.call('XRANGE', stream, '(' .. from, '+', 'COUNT', asked)
    unread = unread + #part
    from = part[1] and part[#part][1]
  until #part < asked
end
local held, answer = 0, { pos, unread, 0, 0, redis.call('ZCARD', dead) }
local consumers = redis.call('ZRANGEBYSCORE', leases, 0, '+inf', 'WITHSCORES')
for field = 1, #consumers, 2 do
  local count = #all_held(consumers[field])
  held = held + count
  answer[#answer + 1] = consumers[field]
  answer[#answer + 1] = count
  answer[#answer + 1] = whole(tonumber(consumers[field + 1]))
end
answer[3] = held
answer[4] = redis.call('ZCARD', ready) + redis.call('ZCARD', due) + redis.call('ZCARD', wait)
return answer
