-- Ends a group.
-- KEYS, ARGV 1 to 4: see _log_group.lua. Answers '1' if there was one, '', or {'newer', format}.
if newer then
  return newer
end
redis.call('UNLINK', group, leases, ready, due, wait, dead, letters, aside)
if is_there then
  redis.call('XGROUP', 'DESTROY', stream, name)
  local copies = redis.call('HKEYS', kept)
  for _, field in ipairs(copies) do
    if string.sub(field, 1, #name + 1) == name .. ' ' then
      redis.call('HDEL', kept, field)
    end
  end
end
return is_there and '1' or ''
