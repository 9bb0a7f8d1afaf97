-- Hears of a consumer.
-- KEYS, ARGV 1 to 4: see _log_group.lua. Then the consumer, its lease in microseconds.
-- Answers '1' if it was still there, '', or {'newer', format}.
if newer then
  return newer
end
if not is_there or not redis.call('ZSCORE', leases, ARGV[5]) then
  return ''
end
redis.call('ZADD', leases, whole(now + tonumber(ARGV[6])), ARGV[5], '-' .. ARGV[6], '\t' .. ARGV[5])
conclude()
return '1'
