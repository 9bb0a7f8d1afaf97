"""What agents, queues, breakers and a worker are at now, for when metrics are collected.

Collectors have threads of their own, and their callbacks cannot wait. So callbacks read no more than numbers of slots;
what breakers and pools say is noted in the event loop's thread, and what lies in a store is asked for by `refresh`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import add
from weakref import WeakSet

from coterie.errors import CoterieError
from coterie.ids import AgentId, AgentType
from coterie.telemetry.meters import Reading, hindrance
from coterie.telemetry.watched import AgentSlots, Breaker, Desk, Log, TypeSlots, WorkerSeen

__all__ = ["BREAKER_STATES", "Gauges"]

BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2, "forced_open": 3, "disabled": 4, "metrics_only": 5}
# Those that keep calls from an agent, or let only a few through to try it.
_RESTING = frozenset({"half_open", "open", "forced_open"})
_EVENTS = "events"
_WORKERS = "workers"


@dataclass(frozen=True, slots=True)
class _Noted:
    """Of breakers and pools: which breaker is which agent's, how it stands, how many stand in line for a type.

    standing: the worst, where several orchestrators have a breaker of one name. several: those names.
    """

    breakers: Mapping[tuple[AgentType, AgentId], str] = field(default_factory=dict)
    standing: Mapping[str, str] = field(default_factory=dict)
    in_line: Mapping[AgentType, int] = field(default_factory=dict)
    several: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a store has told."""

    queued: Reading = field(default_factory=dict)
    unread: Reading = field(default_factory=dict)
    dead: Reading = field(default_factory=dict)


class Gauges:
    """What is watched, and what it shows now."""

    def __init__(self) -> None:
        # Who watches must not keep alive what its owner has closed.
        self._desks: WeakSet[Desk] = WeakSet()
        self._worker: tuple[WorkerSeen, Log, Mapping[AgentType, str]] | None = None
        # Each is replaced, never changed: a collector's thread may be reading it.
        self._noted = _Noted()
        self._stored = _Stored()

    @property
    def readers(self) -> Mapping[str, Callable[[], Reading]]:
        """By name of the gauge."""
        return {
            "coterie.agent.slots": lambda: self._of_agents(lambda slot, _: slot.capacity, add),
            "coterie.agent.in_use": lambda: self._of_agents(lambda slot, _: slot.in_use, add),
            "coterie.agent.healthy": lambda: self._of_agents(_health, min),
            "coterie.queue.depth": self._depths,
            "coterie.breaker.state": self._states,
            "coterie.events.unread": lambda: self._stored.unread,
            "coterie.events.dead_letters": lambda: self._stored.dead,
            "coterie.worker.ready": lambda: self._of_worker(lambda worker: worker.status()["ready"] is True),
            "coterie.worker.capacity": lambda: self._of_worker(lambda worker: worker.capacity),
            "coterie.worker.in_use": lambda: self._of_worker(lambda worker: worker.in_use),
        }

    def watch(self, desk: Desk) -> None:
        """Show its agents, as long as it is there."""
        self._desks.add(desk)

    def unwatch(self, desk: Desk) -> None:
        """Show it no more, nor what its breakers and pools said last; in the event loop's thread."""
        self._desks.discard(desk)
        self.note()

    def watch_worker(self, worker: WorkerSeen, log: Log, queues: Mapping[AgentType, str]) -> None:
        """Show a worker, and the queues of its types, which are topics of the log."""
        self._worker = worker, log, queues

    def types(self) -> Iterator[tuple[AgentType, TypeSlots]]:
        """The agent types of all that is watched."""
        for desk in list(self._desks):
            yield from desk.local_slots().items()

    def note(self) -> frozenset[str]:
        """Note what breakers and pools say now, in the event loop's thread; the names of all breakers."""
        breakers, standing, in_line = {}, dict[str, str](), dict[AgentType, int]()
        known, several = dict[str, Breaker](), set[str]()
        for agent_type, pool in self.types():
            if pool.gate is None:
                continue
            waiting = pool.gate.tools.pool.get_pool_status().waiting
            in_line[agent_type] = in_line.get(agent_type, 0) + waiting.get(agent_type, 0)
            for slot in pool.agents:
                breaker = _breaker_of(pool, slot)
                if breaker is not None:
                    breakers[agent_type, slot.agent.id] = breaker.name
                    now = _standing(breaker)
                    standing[breaker.name] = _worse(standing.get(breaker.name, now), now)
                    if known.setdefault(breaker.name, breaker) is not breaker:
                        several.add(breaker.name)
        self._noted = _Noted(breakers, standing, in_line, frozenset(several))
        return frozenset(standing)

    def moved(self, breaker: str, state: str) -> None:
        """A breaker's state has changed."""
        noted = self._noted
        if breaker in noted.several:
            # Of which of them that was told, nobody says.
            self.note()
        elif breaker in noted.standing and state in BREAKER_STATES:
            self._noted = replace(noted, standing={**noted.standing, breaker: state})

    async def refresh(self, within_s: float) -> None:
        """Ask the stores. Where one does not answer in time, what lies in it is not shown, rather than what it was."""
        found = _Stored()
        try:
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(breaker.refresh() for breaker in self._breakers()))
                found = await self._topics()
        # The worker says itself that its store is away, and so does `coterie.worker.ready`.
        except (CoterieError, TimeoutError):
            found = _Stored()
        self._stored = found
        self.note()

    async def _topics(self) -> _Stored:
        if self._worker is None:
            return _Stored()
        _, log, queues = self._worker
        *of_tasks, of_events = await asyncio.gather(*(log.groups(topic) for topic in [*queues.values(), _EVENTS]))
        queued: dict[tuple[str, ...], float] = {(name, "worker"): 0.0 for name in queues}
        dead: dict[tuple[str, ...], float] = {(_EVENTS, group.name): group.dead for group in of_events}
        unread: dict[tuple[str, ...], float] = {(_EVENTS, each.name): each.unread + each.waiting for each in of_events}
        for (agent_type, topic), groups in zip(queues.items(), of_tasks, strict=True):
            for group in groups:
                if group.name == _WORKERS:
                    queued[agent_type, "worker"] = group.unread + group.waiting
                    dead[topic, group.name] = group.dead
        return _Stored(queued, unread, dead)

    def _breakers(self) -> list[Breaker]:
        found = (_breaker_of(pool, slot) for _, pool in self.types() for slot in pool.agents)
        # Each orchestrator has its own view of a breaker that they share.
        return list({id(breaker): breaker for breaker in found if breaker is not None}.values())

    def _of_agents(self, shown: Callable[[AgentSlots, str], float], joined: Callable[[float, float], float]) -> Reading:
        """joined: what two orchestrators show of an agent of one name."""
        noted, found = self._noted, dict[tuple[str, ...], float]()
        for agent_type, pool in self.types():
            for slot in list(pool.agents):
                name = noted.breakers.get((agent_type, slot.agent.id))
                standing = "closed" if name is None else noted.standing[name]
                key, value = (agent_type, slot.agent.id), shown(slot, standing)
                found[key] = joined(found[key], value) if key in found else value
        return found

    def _depths(self) -> Reading:
        found = dict(self._stored.queued)
        found |= {(agent_type, "pool"): float(count) for agent_type, count in self._noted.in_line.items()}
        queued, shared = Counter[AgentType](), set[AgentType]()
        for agent_type, pool in self.types():
            queued[agent_type] += pool.queued
            if pool.gate is not None and pool.gate.policies.pool is not None:
                shared.add(agent_type)
        for agent_type, count in queued.items():
            in_line = self._noted.in_line.get(agent_type, 0) if agent_type in shared else 0
            found[agent_type, "local"] = float(max(0, count - in_line))
        return found

    def _states(self) -> Reading:
        return {(name,): BREAKER_STATES[state] for name, state in self._noted.standing.items()}

    def _of_worker(self, shown: Callable[[WorkerSeen], float]) -> Reading:
        return {} if self._worker is None else {(): float(shown(self._worker[0]))}


def _breaker_of(pool: TypeSlots, slot: AgentSlots) -> Breaker | None:
    return None if pool.gate is None else pool.gate.tools.breaker(slot.agent.id)


def _standing(breaker: Breaker) -> str:
    """Its state; one whose time is over, and that only waits for a call to try its agent with, is on trial."""
    status = breaker.get_state()
    return "half_open" if status.state == "open" and status.retry_after_s <= 0 else status.state


def _worse(one: str, other: str) -> str:
    return max(one, other, key=lambda state: hindrance(BREAKER_STATES[state]))


def _health(slot: AgentSlots, standing: str) -> float:
    # Where all hang, one more slot was opened: that is no health.
    return float(standing not in _RESTING and slot.stuck < slot.agent.capacity)
