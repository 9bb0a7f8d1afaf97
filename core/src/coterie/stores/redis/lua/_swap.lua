-- Stores a value if another still lies there, and tells; else answers what lies there now, so that trying again takes no
-- further trip.
-- KEYS[1]: the key. ARGV: the value expected (empty: none), the new one (empty: remove), keep (milliseconds; empty: for
-- ever), then channels and messages by turns.
-- Answers {'1', seconds, micros} when stored, {'0', seconds, micros, value or nothing} when not, or the server's error.
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'table' and raw.err then
  return raw
end
local clock = redis.call('TIME')
if (raw or '') ~= ARGV[1] then
  return { '0', clock[1], clock[2], raw }
end
local done
if ARGV[2] == '' then
  done = redis.pcall('DEL', KEYS[1])
elseif ARGV[3] ~= '' then
  done = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  done = redis.pcall('SET', KEYS[1], ARGV[2])
end
if type(done) == 'table' and done.err then
  return done
end
for number = 4, #ARGV, 2 do
  redis.call('PUBLISH', ARGV[number], ARGV[number + 1])
end
return { '1', clock[1], clock[2] }
