-- KEYS[1]: the key. Answers {value or nothing, seconds, micros}, or the server's error.
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'table' and raw.err then
  return raw
end
local clock = redis.call('TIME')
return { raw, clock[1], clock[2] }
