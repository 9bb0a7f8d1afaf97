-- The twin of `reserve` in _rules/gcra.py; what its names mean stands there.
local function decide(state, at, args, moved)
  local takes, max_wait = args[1], args[2]
  local ledger = state
  if not ledger then
    ledger = fresh()
    ledger.n, ledger.last, ledger.go, ledger.held, ledger['until'], ledger.flows = 0, 0, 0, 0, 0, {}
  end
  local go = math.max(at, ledger.go)
  for name, take in pairs(takes) do
    local flow = ledger.flows[name]
    go = math.max(go, (flow and flow[1] or 0) + take[1] - take[2])
  end
  local wait = go - at
  if wait > max_wait then
    if moved then
      return state, { wait, 0 }
    end
    return UNCHANGED, { wait, 0 }
  end
  local number = ledger.n + 1
  local result = { wait, number, ledger.t0, go, ledger.last }
  local before = {}
  if wait > 0 then
    result[6], result[7], result[8] = ledger.held, ledger.go, before
  end
  for name, take in pairs(takes) do
    local flow = ledger.flows[name] or { 0, 0, -1 }
    before[name] = { flow[1], flow[2], flow[3] }
    local slack = flow[1] - go
    if slack <= 0 then
      flow[1], flow[2], flow[3] = go + take[1], number, -1
    elseif flow[3] == 0 then
      flow[1], flow[2], flow[3] = flow[1] + take[1], number, -1
    else
      flow[1] = flow[1] + take[1]
      flow[3] = flow[3] == -1 and slack or math.min(flow[3], slack)
    end
    ledger.flows[name] = flow
  end
  ledger.n, ledger.last, ledger.go = number, number, go
  return ledger, result
end
