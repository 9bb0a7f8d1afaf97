-- Has dead letters delivered again. Those whose messages were dropped stay where they lie until the group is done with
-- them.
-- KEYS, ARGV 1 to 4: see _log_group.lua. Then the places. Answers those that were there, or {'newer', format}.
if newer then
  return newer
end
local found = {}
for number = 5, is_there and #ARGV or 0 do
  local id = ARGV[number]
  if redis.call('ZREM', dead, pad(id)) == 1 then
    found[#found + 1] = id
    local letter = copy(letters, id)
    note(id, 0, letter[4])
    if #redis.call('XRANGE', stream, id, id) > 0 then
      redis.call('XCLAIM', stream, name, WAITING, 0, id, 'FORCE', 'JUSTID')
      redis.call('HDEL', letters, id)
    end
    local key = letter[2][3] or ''
    if key == '' then
      make_ready(id)
    else
      is_noted = true
      redis.call('HSET', group, 'k:' .. id, key)
      local first = redis.call('HGET', group, 'b:' .. key)
      local member = first and pad(first)
      if not first then
        redis.call('HSET', group, 'b:' .. key, id)
        make_ready(id)
      elseif pad(id) < member and (redis.call('ZSCORE', ready, member) or redis.call('ZSCORE', due, member)) then
        -- It comes before the one that was about to be delivered.
        local at = tonumber(redis.call('ZSCORE', due, member) or '0')
        redis.call('ZREM', ready, member)
        redis.call('ZREM', due, member)
        put_behind(first, key, at)
        redis.call('HSET', group, 'b:' .. key, id)
        make_ready(id)
      else
        make_wait(id, key)
        freed = true
      end
    end
  end
end
conclude()
return found
