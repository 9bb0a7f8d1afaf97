-- Ends a consumer.
-- KEYS, ARGV 1 to 4: see _log_group.lua. Then the consumer, '1' and the reason or '' and '' if its deliveries do not
-- count.
-- Answers how many messages it held, or {'newer', format}.
if newer then
  return newer
end
if not is_there or not redis.call('ZSCORE', leases, ARGV[5]) then
  return 0
end
local held = let_go(ARGV[5], ARGV[6] == '1' and ARGV[7] or nil, nil, nil)
conclude()
return held
