"""What keeps the agents of a type from being called: put together from what the fleet shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from coterie.cli.fleet.breakers import BreakerRow
from coterie.cli.fleet.limits import LimitRow
from coterie.cli.fleet.times import span
from coterie.cli.top.snapshot import AgentRow, RunRow, WorkerRow
from coterie.ids import AgentId, AgentType

__all__ = ["blocked", "with_reasons"]

_AWAY = ("open", "forced_open")


def blocked(
    breakers: Iterable[BreakerRow],
    agents: Iterable[AgentRow | WorkerRow],
    limits: Iterable[LimitRow],
    types: Mapping[AgentType, Sequence[AgentId]],
) -> dict[AgentType, str]:
    """By agent type, why nobody of it can be called at once. types: the team's agents, as far as they are known.

    The breaker of a type speaks for it; those of its agents do if all of them are open.
    """
    pools = [row.pool for row in agents if isinstance(row, AgentRow)]
    known = {**types, **{pool.agent_type: [agent.agent_id for agent in pool.agents] for pool in pools}}
    found = {pool.agent_type: f"{len(pool.tickets):,} in line" for pool in pools if pool.tickets}
    found |= {row.name: f"limit, {span(row.wait_us)}" for row in limits if row.wait_us}
    found |= {row.name: "limit paused" for row in limits if row.paused_us is not None}
    away = {row.name for row in breakers if row.state in _AWAY}
    found |= {name: f"breaker {name} open" for name in away}
    for agent_type, ids in known.items():
        if ids and all(agent_id in away for agent_id in ids):
            found[agent_type] = f"breaker {ids[0]} open" if len(ids) == 1 else "breakers open"
    return found


def with_reasons(row: RunRow, reasons: Mapping[AgentType, str]) -> str:
    """What a run waits for now: `now`, and of what could have begun, why it has not."""
    shown = [f"{due.shown} ({reasons[due.agent_type]})" if due.agent_type in reasons else due.shown for due in row.due]
    parts = [row.now, ", ".join(shown) + (f" +{row.more_due:,}" if row.more_due else "")]
    return "; ".join(filter(None, parts))
