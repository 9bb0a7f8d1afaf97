-- Takes a run off the list of all, if it has the place there that it was seen to have: else it has begun anew.
-- KEYS[1]: the list. ARGV: the run, its place. Answers 1 or 0, or the server's error.
local place = redis.pcall('ZSCORE', KEYS[1], ARGV[1])
if type(place) == 'table' and place.err then
  return place
end
if not place or tonumber(place) ~= tonumber(ARGV[2]) then
  return 0
end
return redis.pcall('ZREM', KEYS[1], ARGV[1])
