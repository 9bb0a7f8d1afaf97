-- Removes shelves of a run, and with the last of them all that is left of it.
-- KEYS: the main shelf, what is kept about the run, the names of its other shelves, some of those shelves. ARGV: their
-- names.
-- Answers 'some' where more shelves are left, 'all' where nothing is and there was a run, 'none' where there was none, or
-- the server's error.
local main, about, shelves = KEYS[1], KEYS[2], KEYS[3]
local AT_ONCE = 1000

local before = redis.pcall('SCARD', shelves)
if type(before) == 'table' and before.err then
  return before
end
local function each_part(command, before, list, first)
  for start = first, #list, AT_ONCE do
    local call = { command }
    if before then
      call[2] = before
    end
    for number = start, math.min(start + AT_ONCE - 1, #list) do
      call[#call + 1] = list[number]
    end
    local done = redis.pcall(unpack(call))
    if type(done) == 'table' and done.err then
      return done
    end
  end
end
local failed = each_part('UNLINK', nil, KEYS, 4) or each_part('SREM', shelves, ARGV, 1)
if failed then
  return failed
end
if redis.call('SCARD', shelves) > 0 then
  return 'some'
end
local was = redis.call('EXISTS', main, about) > 0 and 'all' or 'none'
local done = redis.pcall('UNLINK', main, about, shelves)
if type(done) == 'table' and done.err then
  return done
end
return was
