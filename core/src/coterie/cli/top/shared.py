"""Readers of what the fleet shares: pools and workers, breakers, limits, budgets, and the store's own clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from coterie.cli.fleet.breakers import BreakerRow
from coterie.cli.fleet.budgets import BudgetRow
from coterie.cli.fleet.known import Known
from coterie.cli.fleet.limits import LimitRow
from coterie.cli.fleet.snapshot import Kind, take
from coterie.cli.fleet.snapshot import Snapshot as Found
from coterie.cli.top.names import Remembering
from coterie.cli.top.snapshot import AgentRow, Section, WorkerRow
from coterie.ports import StateStore
from coterie.remote.registry import WorkerStatus, list_workers
from coterie.stores.format import KEY

__all__ = ["Shared", "Trip", "agents_of", "trip"]

# What is open, or on trial, first; among those that are open, the one that opened last.
_URGENT = {"forced_open": 0, "open": 0, "half_open": 1, "disabled": 2, "metrics_only": 2, "closed": 3}


@dataclass(frozen=True, slots=True)
class Trip:
    """One read of the store: its clock, and how long the answer took."""

    clock_us: int
    took_s: float


async def trip(store: StateStore) -> Trip:
    """Ask the store for one small state.

    Raises:
        Unavailable: it does not answer.
    """
    # The first one may have to connect.
    await store.read(KEY)
    since = time.perf_counter()
    _, now_us = await store.read(KEY)
    return Trip(now_us, time.perf_counter() - since)


class Shared:
    """Each of its methods is a section's reader, and raises what the store raises: Unavailable, StateFormatError."""

    def __init__(self, store: Remembering, known: Known) -> None:
        self._store = store
        self._known = known

    async def workers(self) -> tuple[WorkerStatus, ...]:
        """Those that work, and those that were lost."""
        return tuple(await list_workers(self._store))

    async def pools(self) -> Section[AgentRow]:
        """Pools, those that others wait for first."""
        found = await self._take("pools")
        rows = sorted((AgentRow(pool) for pool in found.pools), key=_crowded)
        return Section(tuple(rows), self._store.hidden("pool"), notes=_notes(found))

    async def breakers(self) -> Section[BreakerRow]:
        """Breakers, those that keep calls away first."""
        found = await self._take("breakers")
        rows = sorted(found.breakers, key=lambda row: (_URGENT.get(row.state, 3), -(row.since_us or 0), row.name))
        return Section(tuple(rows), self._store.hidden("breaker"), notes=_notes(found))

    async def limits(self) -> Section[LimitRow]:
        """Rate limits, those that make calls wait first."""
        found = await self._take("limits")
        rows = sorted(found.limits, key=lambda row: (not row.near_end, row.name))
        return Section(tuple(rows), self._store.hidden("limit"), notes=_notes(found))

    async def budgets(self) -> Section[BudgetRow]:
        """Budgets, those first that are used up most."""
        found = await self._take("budgets")
        rows = sorted(found.budgets, key=lambda row: (-_used(row), row.of_run is not None, row.name))
        return Section(tuple(rows), self._store.hidden("budget"), notes=_notes(found))

    async def _take(self, kind: Kind) -> Found:
        return await take(self._store, self._known, [kind])


def agents_of(
    pools: Section[AgentRow], workers: Sequence[WorkerStatus], error: str | None
) -> Section[AgentRow | WorkerRow]:
    """Pools and workers together; the lost ones last. error: why the workers are not known better."""
    rows = (WorkerRow(each) for each in sorted(workers, key=lambda each: (each.state == "lost", each.id)))
    notes = pools.notes if error is None or error == pools.error else (*pools.notes, f"workers: {error}")
    return Section((*pools.rows, *rows), pools.hidden, pools.error, pools.old_s, notes, pools.reach)


def _notes(found: Found) -> tuple[str, ...]:
    return tuple(f"{problem.key}: {problem.error}" for problem in found.problems)


def _crowded(row: AgentRow) -> tuple[int, float, str]:
    used = row.pool.in_use / row.slots if row.slots else 1.0
    return -len(row.pool.tickets), -used, row.pool.agent_type


def _used(row: BudgetRow) -> float:
    return (row.spent + row.held) / row.limit if row.limit else 0.0
