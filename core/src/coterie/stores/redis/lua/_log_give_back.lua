-- Has a message delivered again, or makes it a dead letter.
-- KEYS, ARGV 1 to 4: see _log_group.lua. Then the consumer, the place, the delay in microseconds, '1' and the reason or
-- '' and '' if it does not count, after how many deliveries it is dead (empty: never).
-- Answers the dead letter, {} if it is none, or {'newer', format}.
if newer then
  return newer
end
local consumer, id, most = ARGV[5], ARGV[6], tonumber(ARGV[10])
local tries = is_there and held_by(id, consumer)
if not tries then
  return {}
end
local delivered = tries
local _, failures = noted(id)
if ARGV[8] == '1' then
  failures = with_failure(failures, consumer, ARGV[9])
else
  tries = tries - 1
end
local letter
if most and tries >= most then
  letter = bury(id, delivered, failures)
else
  note(id, tries, failures)
  put_back(id, now + tonumber(ARGV[7]))
end
redis.call('ZREM', leases, '\n' .. consumer)
conclude()
return letter or {}
