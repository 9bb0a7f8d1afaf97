-- Puts a run that is about to begin at the head of the list of all: its place there grows from one to the next, whatever
-- the clock does, and is new each time, so that whoever takes off what was there before leaves it alone.
-- KEYS[1]: the list. ARGV: now (microseconds; empty: the server's clock), the run. Answers nothing, or the server's error.
local newest = redis.pcall('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if newest.err then
  return newest
end
local place = tonumber(ARGV[1])
if not place then
  local clock = redis.call('TIME')
  place = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
end
if newest[2] then
  place = math.max(place, tonumber(newest[2]) + 1)
end
local done = redis.pcall('ZADD', KEYS[1], string.format('%.0f', place), ARGV[2])
if type(done) == 'table' and done.err then
  return done
end
return false
