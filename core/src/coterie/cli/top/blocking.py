"""What keeps the agents of a type from being called: put together from what the fleet shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from coterie.cli.fleet.breakers import BreakerRow
from coterie.cli.fleet.limits import LimitRow
from coterie.cli.fleet.times import span
from coterie.cli.top.snapshot import AgentRow, At, Due, GroupRow, QueueRow, RunRow, WorkerRow
from coterie.ids import AgentId, AgentType

__all__ = ["Queued", "blocked", "in_queues", "placed", "taken_by_lost"]

_AWAY = ("open", "forced_open")
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Queued:
    """What lies in queues of remote tasks. calls: by run, how many of each task; unserved: types without a worker.
    lost: by run, how many of each task workers had begun that are lost.
    """

    calls: Mapping[str, Counter[str]]
    unserved: AbstractSet[AgentType]
    lost: Mapping[str, Counter[str]] = field(default_factory=dict)


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


def in_queues(queues: Iterable[QueueRow | GroupRow], lost_workers: AbstractSet[str] = frozenset()) -> Queued:
    """How many calls nobody has begun, or is at any more, by run and task; and of which types nobody serves any."""
    calls: dict[str, Counter[str]] = {}
    lost: dict[str, Counter[str]] = {}
    unserved = set()
    for row in queues:
        if isinstance(row, QueueRow):
            for (run, task_id), count in row.calls.items():
                calls.setdefault(run, Counter())[task_id] += count
            for (run, task_id, worker), count in row.taken.items():
                if worker in lost_workers:
                    lost.setdefault(run, Counter())[task_id] += count
            if row.workers == 0:
                unserved.add(row.agent_type)
    return Queued(calls, frozenset(unserved), lost)


def placed(row: RunRow, reasons: Mapping[AgentType, str], queued: Queued) -> RunRow:
    """The row with all that a run waits for now: what lies in a queue, or is a lost worker's, nobody is at, whoever has
    claimed it.
    """
    calls, lost = queued.calls.get(row.run, Counter()), queued.lost.get(row.run, Counter())
    if row.state not in ("running", "waiting", "interrupted"):
        return row
    told = _Telling(reasons, queued.unserved, calls, lost)
    idle = sum(told.lying(at) + told.lost_of(at) for at in row.at)
    is_waited_for = bool(calls) and row.state == "interrupted"
    alone = sorted((calls.keys() | lost.keys()) - {at.task_id for at in row.at} - {due.task_id for due in row.due})
    parts = [
        "" if is_waited_for else row.now,
        told.at(row.at),
        told.due(row.due, row.more_due),
        ", ".join(told.task(name, calls[name], lost[name]) for name in alone[:_NAMED]),
    ]
    return replace(
        row,
        # A scheduler that has handed it to workers holds nothing of it.
        state="running" if is_waited_for else row.state,
        running=None if row.running is None else row.running - idle,
        queued=calls.total(),
        now="; ".join(filter(None, parts)),
    )


def taken_by_lost(count: int) -> str:
    """That so many were begun by workers that are lost; empty for none."""
    by = "a worker that is gone" if count == 1 else "workers that are gone"
    return f"{count:,} taken by {by}" if count else ""


@dataclass(frozen=True, slots=True)
class _Telling:
    """What is known of one run. calls, lost: how many of each task lie in a queue, or are lost workers'."""

    reasons: Mapping[AgentType, str]
    unserved: AbstractSet[AgentType]
    calls: Counter[str]
    lost: Counter[str]

    def lying(self, at: At) -> int:
        """How many of what is claimed nobody has begun."""
        return min(self.calls[at.task_id], len(at.names))

    def lost_of(self, at: At) -> int:
        """How many of what is claimed was begun by workers that are lost."""
        return min(self.lost[at.task_id], len(at.names) - self.lying(at))

    def at(self, claimed: Sequence[At]) -> str:
        """Who is at work, what lies in a queue, and what is a lost worker's."""
        idle = {at.task_id: (self.lying(at), self.lost_of(at)) for at in claimed if self.lying(at) or self.lost_of(at)}
        lying = [self.task(at.task_id, *idle[at.task_id], at) for at in claimed if at.task_id in idle]
        names = [name for at in claimed if at.task_id not in idle for name in at.names]
        more = f" +{len(names) - _NAMED:,}" if len(names) > _NAMED else ""
        return ", ".join([*lying, *([", ".join(names[:_NAMED]) + more] if names else [])])

    def due(self, due: Sequence[Due], more: int) -> str:
        """What could have begun, and why it has not."""
        shown = []
        for one in due:
            count, lost = self.calls[one.task_id], self.lost[one.task_id]
            why = [_idle(count, lost), self._why(one.agent_type, is_idle=count + lost > 0)]
            said = ", ".join(filter(None, why))
            shown.append(f"{one.shown} ({said})" if said else one.shown)
        return ", ".join(shown) + (f" +{more:,}" if more else "")

    def task(self, task_id: str, count: int, lost: int, at: At | None = None) -> str:
        """`lint: 12 in the queue, 2 at work (breaker linter open)`."""
        working = 0 if at is None else len(at.names) - count - lost
        agent_type = None if at is None else at.agent_type
        why = "" if agent_type is None else self._why(agent_type, is_idle=not working)
        said = ", ".join(filter(None, [_idle(count, lost), f"{working:,} at work" if working else ""]))
        return f"{task_id}: {said} ({why})" if why else f"{task_id}: {said}"

    def _why(self, agent_type: AgentType, *, is_idle: bool) -> str:
        # Workers and queues are not read at one instant: whoever is at work serves it.
        return "nobody serves it" if is_idle and agent_type in self.unserved else self.reasons.get(agent_type, "")


def _idle(count: int, lost: int) -> str:
    """What nobody is at. count: lies in a queue; lost: was begun by workers that are lost."""
    return ", ".join(filter(None, [f"{count:,} in the queue" if count else "", taken_by_lost(lost)]))
