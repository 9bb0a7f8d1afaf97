"""Takes snapshots: every section from its own reader, each of which may fail without the others."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

from coterie.artifacts import ArtifactStore
from coterie.cli.fleet.known import Known
from coterie.cli.top.blocking import blocked, in_queues, placed
from coterie.cli.top.names import Names, Remembering
from coterie.cli.top.queues import Queues, with_workers
from coterie.cli.top.runs import Runs
from coterie.cli.top.shared import Shared, Trip, agents_of, trip
from coterie.cli.top.snapshot import Head, Row, Section, Snapshot
from coterie.errors import CoterieError
from coterie.ids import AgentId, AgentType
from coterie.journal import Journal
from coterie.ports import LogStore, StateStore
from coterie.remote.registry import WorkerStatus

__all__ = ["Places", "Watch"]

T = TypeVar("T")
R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a team's doings are seen. artifacts: where plans and lists lie that are too long for the journal.
    known, types: what the team's policies say, and which agents it has of which type, as far as it was named.
    """

    store: StateStore
    journal: Journal
    log: LogStore
    artifacts: ArtifactStore | None = None
    known: Known = field(default_factory=Known)
    types: Mapping[AgentType, Sequence[AgentId]] = field(default_factory=dict)


@dataclass(slots=True)
class _Kept(Generic[T]):
    """What a reader last gave, when, and what went wrong since."""

    value: T
    at_s: float
    error: str | None = None


class Watch:
    """Takes one snapshot after another of the same places; what fails is shown as it was.

    page: runs of one page of the list. patience_s: a reader that takes longer has failed, for this snapshot.
    """

    def __init__(
        self,
        places: Places,
        *,
        page: int = 50,
        patience_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        store = Remembering(places.store, Names(clock))
        self._store = store
        self._shared = Shared(store, places.known)
        self._runs = Runs(places.journal, places.artifacts, clock, page=page, fresh=page)
        self._queues = Queues(store, places.log, clock=clock)
        self._types = places.types
        self._patience_s = patience_s
        self._clock = clock
        self._kept: dict[str, _Kept[Any]] = {}

    async def take(self) -> Snapshot:
        """Read everything once. Never raises what stores raise: the snapshot says it."""
        no_workers: Sequence[WorkerStatus] = ()
        no_trip: Trip | None = None
        # By itself: how long the store takes, not how long it takes for all the rest besides.
        asked = await self._kept_by("store", partial(trip, self._store), no_trip)
        async with asyncio.TaskGroup() as group:
            listed = group.create_task(self._kept_by("workers", self._shared.workers, no_workers))
            pools = group.create_task(self._section("pools", self._shared.pools))
            breakers = group.create_task(self._section("breakers", self._shared.breakers))
            limits = group.create_task(self._section("limits", self._shared.limits))
            budgets = group.create_task(self._section("budgets", self._shared.budgets))
            queues = group.create_task(self._section("queues", self._queues.read))
            runs = group.create_task(self._section("runs", self._runs.read))
        workers = listed.result()
        found, begun = queues.result(), runs.result()
        agents = agents_of(pools.result(), workers.value, workers.error)
        reasons = blocked(breakers.result().rows, agents.rows, limits.result().rows, self._types)
        queued = with_workers(found.rows, _serving(workers))
        lying = in_queues(queued, frozenset(each.id for each in workers.value if each.state == "lost"))
        rows = tuple(placed(row, reasons, lying) for row in begun.rows)
        return Snapshot(
            head=self._head(asked, workers, is_told=begun.error is None),
            runs=replace(begun, rows=rows),
            agents=agents,
            breakers=breakers.result(),
            limits=limits.result(),
            budgets=budgets.result(),
            queues=replace(found, rows=queued),
        )

    def _head(self, asked: _Kept[Trip | None], workers: _Kept[Sequence[WorkerStatus]], *, is_told: bool) -> Head:
        head = Head(self._store.namespace, self._store.url, error=asked.error)
        if asked.error is not None:
            head = replace(head, away_s=self._clock() - asked.at_s)
        now_us = time.time_ns() // 1000
        if asked.value is not None and asked.error is None:
            now_us = asked.value.clock_us
            head = replace(head, clock_us=now_us, trip_s=asked.value.took_s)
        if workers.error is None:
            head = replace(head, workers=sum(each.state != "lost" for each in workers.value))
        if is_told:
            calls, cost = self._runs.rates(now_us)
            head = replace(head, calls_per_s=calls, cost_per_hour=cost)
        return head

    async def _section(self, name: str, read: Callable[[], Awaitable[Section[R]]]) -> Section[R]:
        nothing: Section[R] = Section()
        kept = await self._kept_by(name, read, nothing)
        if kept.error is None:
            return kept.value
        return replace(kept.value, error=kept.error, old_s=self._clock() - kept.at_s)

    async def _kept_by(self, name: str, read: Callable[[], Awaitable[T]], first: T) -> _Kept[T]:
        kept: _Kept[T] = self._kept.setdefault(name, _Kept(first, self._clock()))
        try:
            async with asyncio.timeout(self._patience_s):
                value = await read()
        except TimeoutError:
            kept.error = f"no answer within {self._patience_s:g} s"
        except CoterieError as error:
            kept.error = str(error)
        else:
            kept.value, kept.at_s, kept.error = value, self._clock(), None
        return kept


def _serving(workers: _Kept[Sequence[WorkerStatus]]) -> Counter[str] | None:
    """How many workers serve each type."""
    if workers.error is not None:
        return None
    return Counter(agent_type for each in workers.value if each.state == "alive" for agent_type in each.types)
