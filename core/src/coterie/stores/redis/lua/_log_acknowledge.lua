-- Is done with messages.
-- KEYS, ARGV 1 to 4: see _log_group.lua. Then the consumer, and the places.
-- Answers those that it did not hold, or {'newer', format}.
if newer then
  return newer
end
local stale = {}
if is_there then
  stale = acknowledge(ARGV[5], 6, false)
  redis.call('ZREM', leases, '\n' .. ARGV[5])
  conclude()
else
  for number = 6, #ARGV do
    stale[#stale + 1] = ARGV[number]
  end
end
return stale
