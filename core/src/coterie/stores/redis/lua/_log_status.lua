-- What a topic keeps, and the names of its groups.
-- KEYS: the stream, about the topic. ARGV: now.
-- Answers {'1' if there is one, how many messages it keeps, how many there ever were, the first, the last, groups}, or
-- {'newer', format}.
if newer then
  return newer
end
if redis.call('EXISTS', stream) == 0 then
  return { '', 0, 0, '', '', {} }
end
local names = {}
for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  for field = 1, #group, 2 do
    if group[field] == 'name' then
      names[#names + 1] = group[field + 1]
    end
  end
end
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local _, appended = parts(last)
return { '1', redis.call('XLEN', stream), appended, first and first[1] or '', newest and newest[1] or '', names }
