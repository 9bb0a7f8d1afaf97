-- Reads the state and the time, has `decide` of the operation decide, stores, tells, and answers with
--   text                     the result as JSON
--   {value, seconds, micros} on FALLBACK: what lies there, and the server's clock, for the Python rule to go on with
--   an error                 as the server gave it
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'table' and raw.err then
  return raw
end
local clock = redis.call('TIME')
local seconds, micros = tonumber(clock[1]), tonumber(clock[2])
if ARGV[1] ~= '' then
  local now = tonumber(ARGV[1])
  seconds = floordiv(now, SECOND)
  micros = now - seconds * SECOND
end
-- What this script cannot read, the Python rule reads or refuses, by its own words.
local fall_back = { raw, string.format('%.0f', seconds), string.format('%.0f', micros) }

local state, at
local moved = false
if raw then
  local read
  read, state = pcall(cjson.decode, raw)
  local readable = read and type(state) == 'table' and state.v == FORMAT
    and type(state.t0) == 'number' and type(state.at) == 'number'
  if not readable then
    return fall_back
  end
  at = (seconds - state.t0) * SECOND + micros
  if at < state.at then
    local back_s = -floordiv(at - state.at, SECOND)
    moved = true
    state.t0 = state.t0 - back_s
    at = at + back_s * SECOND
  end
  state.at = at
else
  begun_s, begun_at = seconds, micros
  at = micros
end
if at > LATEST then
  return fall_back
end

local args = {}
for number = 4, #ARGV do
  args[number - 3] = cjson.decode(ARGV[number])
end

local new_state, result, signals = decide(state, at, args, moved)
if new_state == FALLBACK then
  return fall_back
end
-- Before anything is written: what cannot be encoded must leave everything as it was.
local answer = cjson.encode(result == nil and null or result)
if new_state ~= UNCHANGED and (new_state or raw) then
  local done
  if new_state == nil then
    done = redis.pcall('DEL', KEYS[1])
  elseif ARGV[2] ~= '' then
    done = redis.pcall('SET', KEYS[1], cjson.encode(new_state), 'PX', ARGV[2])
  else
    done = redis.pcall('SET', KEYS[1], cjson.encode(new_state))
  end
  if type(done) == 'table' and done.err then
    return done
  end
  for _, signal in ipairs(signals or {}) do
    redis.call('PUBLISH', ARGV[3] .. signal[1], signal[2])
  end
end
return answer
