-- Removes dead letters.
-- KEYS, ARGV 1 to 4: see _log_group.lua. Then the places. Answers those that were there, or {'newer', format}.
if newer then
  return newer
end
local found = {}
for number = 5, is_there and #ARGV or 0 do
  local id = ARGV[number]
  if redis.call('ZREM', dead, pad(id)) == 1 then
    found[#found + 1] = id
    redis.call('HDEL', letters, id)
  end
end
return found
