-- The twin of `_turn` in coterie/_rules/pool.py, with balance.py, tickets.py, pool_state.py, pool_limit.py and aimd.py;
-- the comments are there.
local function decide(state, at, args, moved)
  local terms, said = args[1], args[2]
  local owner, chance = said.owner, said.chance
  local changed, signals = false, {}
  if not state then
    state = fresh()
    state.token, state.count, state.last = state.t0 * 10000, 0, 0
    state.agents, state.leases, state.tickets = {}, {}, {}
  end
  local agents, leases, tickets = state.agents, state.leases, state.tickets

  local function number()
    state.count = state.count + 1
    return state.count
  end

  -- limits
  local adaptive = terms.adaptive
  local function within(limit, capacity)
    local most = math.max(adaptive.minimum, math.min(adaptive.maximum, capacity))
    return math.max(adaptive.minimum, math.min(most, limit))
  end
  local function limited(agent, limit, count)
    agent.m = within(limit, agent.c)
    agent.k = agent.m == limit and count or 0
  end
  local function bounded(agent)
    if not adaptive then
      agent.m, agent.g, agent.k = nil, nil, nil
    elseif agent.m then
      limited(agent, agent.m, agent.k or 0)
    else
      agent.m, agent.g, agent.k = within(adaptive.start, agent.c), state.token + 1, 0
    end
  end
  local function learned(agent, token, outcome, in_flight)
    if not adaptive or not agent.m then return end
    local limit, count = agent.m, agent.k or 0
    if outcome == 'o' and token >= agent.g then
      limit, count = math.min(floordiv(limit * adaptive.backoff, 1000000), limit - 1), 0
      agent.g = state.token + 1
    elseif outcome == 's' and in_flight * 2 >= limit and limit < adaptive.maximum then
      count = count + 1
      if count >= limit then limit, count = limit + 1, 0 end
    end
    limited(agent, limit, count)
  end
  local function slots(agent) return agent.m and math.min(agent.c, agent.m) or agent.c end

  -- keep alive
  for _, one in ipairs(said.agents) do
    changed = true
    local agent = agents[one[1]]
    if said.leaving == 1 then
      if agent then
        agent.e, agent.l = math.min(agent.e, at + floordiv(terms.alive, 2)), 1
      end
    else
      agent = agent or { i = number(), s = 0, d = 0, y = 0 }
      agent.c, agent.w, agent.e, agent.l = one[2], one[3], at + terms.alive, 0
      bounded(agent)
      agents[one[1]] = agent
    end
  end

  -- prune
  local used = {}
  for id, lease in pairs(leases) do
    if lease.e <= at then
      leases[id], changed = nil, true
    else
      used[lease.a] = (used[lease.a] or 0) + 1
    end
  end
  for id, ticket in pairs(tickets) do
    if ticket.e <= at then tickets[id], changed = nil, true end
  end
  for id, agent in pairs(agents) do
    if agent.e + (agent.l == 1 and 0 or terms.forget) <= at then agents[id], changed = nil, true end
  end

  local function forget(id)
    local agent = leases[id].a
    leases[id], used[agent], changed = nil, used[agent] - 1, true
  end

  local function give_back(id, agent_id, token, outcome, latency)
    local lease = leases[id]
    if id == '' then
      for name, one in pairs(leases) do
        if one.n == token and one.a == agent_id then id, lease = name, one end
      end
    end
    if not lease or lease.n ~= token or lease.a ~= agent_id then
      for _, one in pairs(leases) do
        if one.a == agent_id and one.n > token then return 'stale' end
      end
      return 'gone'
    end
    forget(id)
    local agent = agents[agent_id]
    if agent and outcome ~= '' then
      local sample = outcome ~= 's' and math.max(latency, 2 * agent.y) or latency
      sample = math.min(3600000000, sample)
      agent.y = agent.y == 0 and sample or agent.y + floordiv(sample - agent.y, 8)
      learned(agent, token, outcome, used[agent_id] + 1)
    end
    return 'ok'
  end

  local returned, lost, answers = {}, {}, {}
  for _, one in ipairs(said.back) do
    returned[one[1]] = give_back(one[1], one[2], one[3], one[4], one[5])
  end
  for _, one in ipairs(said.drop) do
    local ticket, lease = tickets[one[1]], leases[one[1]]
    if ticket and ticket.h == one[2] then tickets[one[1]], changed = nil, true end
    if lease and lease.h == one[2] then forget(one[1]) end
  end
  for _, one in ipairs(said.renew) do
    local lease = leases[one[1]]
    if lease and lease.n == one[2] then
      lease.e, lease.o, changed = at + terms.lease, owner, true
    else
      lost[one[1]] = 1
    end
  end

  -- take places
  local present, new = {}, {}
  for _, ask in ipairs(said.asks) do
    local id, holder, priority, takes_over, wanted_key = ask[1], ask[2], ask[3], ask[4], ask[6]
    present[id] = true
    if not leases[id] then
      local ticket = tickets[id]
      if not ticket then
        ticket = { r = at - math.max(-1000, math.min(1000, priority)) * terms.ageing, i = number() }
        tickets[id], new[id] = ticket, true
      elseif ticket.h == holder or takes_over == 1 then
        changed = true
      else
        ticket = nil
      end
      if ticket then
        ticket.e = at + (holder ~= '' and terms.parked or terms.deferred)
        ticket.o, ticket.h = owner, holder
        ticket.y = wanted_key ~= '' and wanted_key or nil
        ticket.x = nil
        for _, agent_id in ipairs(ask[7]) do
          ticket.x = ticket.x or {}
          ticket.x[agent_id] = 1
        end
      end
    end
  end

  -- balance
  local function load(one) return floordiv(one.used * 1000000, one.c) end
  local function unknown(free)
    local least = nil
    for _, one in ipairs(free) do
      if one.y > 0 and (not least or one.y < least) then least = one.y end
    end
    return least or 1000000
  end
  local function cost(one, otherwise)
    return floordiv((one.y > 0 and one.y or otherwise) * (one.used + 1), one.c)
  end
  local function least(free, of)
    local best, lowest
    for _, one in ipairs(free) do
      local value = of(one)
      if not best or value < lowest then best, lowest = one, value end
    end
    return best
  end
  local strategies = {
    round_robin = function(free) return free[1] end,
    least_loaded = function(free) return least(free, load) end,
    least_response_time = function(free)
      local otherwise = unknown(free)
      return least(free, function(one) return cost(one, otherwise) end)
    end,
    random = function(free) return free[floordiv(chance * #free, 1000000) + 1] end,
    weighted = function(free)
      local total = 0
      for _, one in ipairs(free) do total = total + one.w end
      local drawn = floordiv(chance * total, 1000000)
      for _, one in ipairs(free) do
        drawn = drawn - one.w
        if drawn < 0 then return one end
      end
    end,
    power_of_two_choices = function(free)
      if #free == 1 then return free[1] end
      local first = chance % #free
      local second = floordiv(chance, #free) % (#free - 1)
      if second >= first then second = second + 1 end
      local otherwise, one, other = unknown(free), free[first + 1], free[second + 1]
      return cost(other, otherwise) < cost(one, otherwise) and other or one
    end,
    consistent_hash = function(free, wanted_key)
      return least(free, function(one)
        return -tonumber(string.sub(redis.sha1hex(wanted_key .. '\n' .. one.id), 1, 12), 16)
      end)
    end,
  }
  local pick = strategies[terms.strategy]
  if not pick then return FALLBACK end

  -- serve
  local function free_agents(avoided)
    local free = {}
    for id, one in pairs(agents) do
      local taken = used[id] or 0
      if one.e > at and one.d == 0 and one.s <= at and taken < slots(one) and not (avoided and avoided[id]) then
        free[#free + 1] = { id = id, i = one.i, c = slots(one), w = one.w, y = one.y, used = taken }
      end
    end
    table.sort(free, function(a, b)
      local a_after, b_after = a.i > state.last, b.i > state.last
      if a_after ~= b_after then return a_after end
      return a.i < b.i
    end)
    return free
  end
  local function before(a, b) return a.r < b.r or (a.r == b.r and a.i < b.i) end
  local function first(unserved)
    local found
    for id, ticket in pairs(tickets) do
      if not unserved[id] and (not found or before(ticket, tickets[found])) then found = id end
    end
    return found
  end
  local unserved, any = {}, #free_agents() > 0
  while any do
    local id = first(unserved)
    if not id then break end
    local ticket = tickets[id]
    local suited = free_agents(ticket.x)
    if #suited == 0 then
      unserved[id] = true
    else
      local agent = pick(suited, ticket.y or '')
      chance = (chance * 7919 + 104729) % 1000000
      tickets[id], changed = nil, true
      state.token, state.last = state.token + 1, agent.i
      leases[id] = {
        a = agent.id, n = state.token, o = ticket.o, h = ticket.h,
        e = at + (ticket.h ~= '' and terms.claim or terms.deferred_claim),
      }
      used[agent.id] = (used[agent.id] or 0) + 1
      if not present[id] then
        signals[#signals + 1] = {
          'pool/' .. terms.agent_type .. '/' .. ticket.o,
          id .. ' ' .. agent.id .. ' ' .. string.format('%.0f', state.token),
        }
      end
      any = #free_agents() > 0
    end
  end

  -- answer
  local function refusal(avoid, waits, is_new)
    local avoided, wanted, healthy, alive, total, suspended = {}, 0, 0, 0, 0, nil
    for _, id in ipairs(avoid) do avoided[id] = true end
    local ready = false
    for id, one in pairs(agents) do
      if one.d == 0 then
        if one.e > at then
          alive, total = alive + 1, total + 1
          if one.s <= at then healthy = healthy + 1 end
          if not avoided[id] then
            wanted = wanted + 1
            if one.s <= at then
              ready = true
            elseif not suspended or one.s - at < suspended then
              suspended = one.s - at
            end
          end
        elseif one.l == 0 then
          total = total + 1
        end
      end
    end
    if alive == 0 then return { k = 'nobody', r = terms.alive } end
    if not ready then return { k = wanted > 0 and 'suspended' or 'busy', r = suspended or 1000000 } end
    local soonest, waiting = nil, 0
    for _, lease in pairs(leases) do
      if not soonest or lease.e - at < soonest then soonest = lease.e - at end
    end
    for _ in pairs(tickets) do waiting = waiting + 1 end
    soonest = soonest or 1000000
    if is_new and healthy * 1000000 < terms.share * total then
      return { k = 'unhealthy', r = soonest, h = healthy, t = total }
    end
    if waits == 0 then return { k = 'busy', r = soonest } end
    if is_new and waiting > terms.queue then return { k = 'full', r = soonest } end
    return nil
  end
  for _, ask in ipairs(said.asks) do
    local id, holder = ask[1], ask[2]
    local lease, ticket = leases[id], tickets[id]
    if lease then
      if lease.h ~= '' and lease.h ~= holder then
        answers[id] = { k = 'taken', r = lease.e - at }
      else
        if holder ~= '' then lease.e = at + terms.lease end
        lease.o, lease.h, changed = owner, holder, true
        answers[id] = { k = 'leased', a = lease.a, n = lease.n, u = lease.e - at }
      end
    elseif ticket.h ~= holder then
      answers[id] = { k = 'taken', r = ticket.e - at }
    else
      local refused = refusal(ask[7], ask[5], new[id])
      if refused then
        tickets[id] = nil
        changed = changed or not new[id]
        answers[id] = refused
      else
        local ahead = 0
        for _, other in pairs(tickets) do
          if before(other, ticket) then ahead = ahead + 1 end
        end
        changed = true
        answers[id] = { k = 'queued', p = ahead }
      end
    end
  end

  local result = { back = returned, lost = lost, asks = answers }
  if not (changed or moved) then return UNCHANGED, result end
  return state, result, signals
end
