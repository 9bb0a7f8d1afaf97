-- The twin of `settle` in _rules/gcra.py; what its names mean stands there.
local FARTHEST = 1e13

local function decide(state, at, args)
  local number, changes = args[1], args[2]
  if not state or number > state.n then
    return UNCHANGED, false
  end
  local changed = false
  for name, change in pairs(changes) do
    local flow = state.flows[name]
    local tat, since, low = 0, 0, -1
    if flow then
      tat, since, low = flow[1], flow[2], flow[3]
    end
    if change >= 0 then
      tat = math.min(math.max(tat, at) + change, math.max(tat, at + FARTHEST))
    elseif number >= since then
      local back = low == -1 and -change or math.min(-change, low)
      tat = tat - back
      low = low == -1 and -1 or low - back
    end
    if not flow or tat ~= flow[1] or low ~= flow[3] then
      state.flows[name] = { tat, since, low }
      changed = true
    end
  end
  if not changed then
    return UNCHANGED, false
  end
  return state, true
end
