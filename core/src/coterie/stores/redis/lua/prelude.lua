-- What every operation's script begins with; epilogue.lua is what it ends with. Between them stands, in a file of the
-- operation's name with `_` for `.`, its twin:
--
--     local function decide(state, at, args, moved) ... return new_state, result, signals end
--
-- state    a table, stamped with `v`, `t0` and `at` already; nil if there is none: begin one with `fresh()`
-- at       microseconds since `t0` of that state, which never go back
-- args     the operation's arguments, decoded: args[1] is the first
-- moved    whether the clock had been set back and `t0` was moved: who leaves the state as it is loses that, and would
--          see no time pass until the clock has caught up
-- returns  new_state: the table to store, nil to remove it, or UNCHANGED to write nothing
--          result: what the Python rule returns as its result, as a table, a number, a text, or nil for null
--          signals: nil or { {channel, message}, ... }, sent after the state was stored or removed; never with UNCHANGED
--          or the one value FALLBACK: the Python rule decides instead, and nothing is written here
--
-- Numbers are whole and below 1e14 everywhere: cjson writes 14 digits. An empty table is written as an object.
-- KEYS[1]: the key. ARGV: now (microseconds since the epoch; empty: the server's clock), keep (milliseconds; empty: for
-- ever), the prefix of channels, then each argument as JSON.
local FORMAT = 1
local SECOND = 1000000
-- Beyond it a rule moves a state's beginning; only the Python rules do that.
local LATEST = 5e13
local UNCHANGED = {}
local FALLBACK = {}

-- What JSON calls null, where a field must be written as such.
local null = cjson.null

-- Exact for |a| < 2^53 / 2 and whole b > 0, like Python's //.
local function floordiv(a, b)
  return math.floor(a / b)
end

-- The whole number not below a / b.
local function ceildiv(a, b)
  return -math.floor(-a / b)
end

local begun_s, begun_at = 0, 0

-- A new state: nothing but its stamp.
local function fresh()
  return { v = FORMAT, t0 = begun_s, at = begun_at }
end
