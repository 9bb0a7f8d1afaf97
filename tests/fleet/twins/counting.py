"""An operation with a twin, for the tests of stores and of the harness: counts, tells at each tenth, ends at 100."""

from __future__ import annotations

from typing import Any

from coterie._rules.decided import Decided, Operation, Signal, State
from coterie._rules.timeline import moment
from coterie.stores.redis.scripts import Script, as_twin

__all__ = ["TWIN", "count", "twins"]

TWIN = """
local function decide(state, at, args)
  local step = args[1]
  if step.skip then return FALLBACK end
  if step.by == 0 then return UNCHANGED, state and state.total or 0 end
  state = state or fresh()
  local before = state.total or 0
  state.total = before + step.by
  if state.total >= 100 then return nil, { total = state.total, since = at } end
  local signals = nil
  if floordiv(state.total, 10) > floordiv(before, 10) then
    signals = { { 'limit/counter', 'at ' .. string.format('%d', state.total) } }
  end
  return state, { total = state.total, since = at, none = null }, signals
end
"""


def count(by: int, *, skip: bool = False) -> Operation[Any]:
    """Add; by 0 only looks. skip: the twin leaves it to the rule."""
    return Operation("test.count", ({"by": by, "skip": skip},), _rule, lambda result: result)


def twins(name: str, body: str = TWIN) -> Script | None:
    return as_twin(body) if name == "test.count" else None


def _rule(state: State | None, now: int, step: dict[str, int]) -> Decided[Any]:
    time = moment(state, now)
    before: Any = state["total"] if state else 0
    if step["by"] == 0:
        return Decided(state, before)
    total = before + step["by"]
    if total >= 100:
        return Decided(None, {"total": total, "since": time.at})
    signals = (Signal("limit/counter", f"at {total}"),) if total // 10 > before // 10 else ()
    return Decided({**time.stamp(), "total": total}, {"total": total, "since": time.at, "none": None}, signals)
