"""All that a fleet's store holds of some kinds, read once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from coterie._rules.decided import State
from coterie.breaker.note import Note, read_note
from coterie.cli.fleet.breakers import BreakerRow, breaker_row, with_error
from coterie.cli.fleet.budgets import BudgetRow, budget_row
from coterie.cli.fleet.known import Known
from coterie.cli.fleet.limits import LimitRow, limit_row
from coterie.cli.fleet.pools import PoolRow, pool_row
from coterie.cli.fleet.retries import RetryRow, retry_row
from coterie.cli.fleet.times import instant
from coterie.errors import StateFormatError
from coterie.ids import WorkflowId
from coterie.policies import run_budget
from coterie.ports import StateStore
from coterie.stores.format import KEY, check_format

__all__ = ["ALL_KINDS", "Head", "Kind", "Problem", "Snapshot", "head_of", "names_of", "take"]

Kind: TypeAlias = Literal["breakers", "pools", "limits", "retries", "budgets"]
Row: TypeAlias = BreakerRow | PoolRow | LimitRow | RetryRow | BudgetRow
R = TypeVar("R", bound=Row)

ALL_KINDS: tuple[Kind, ...] = ("breakers", "pools", "limits", "retries", "budgets")

_KEYS: dict[Kind, str] = {
    "breakers": "breaker",
    "pools": "pool",
    "limits": "limit",
    "retries": "retry",
    "budgets": "budget",
}
# So many states are asked for at once.
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Head:
    """The store. format: what the fleet writes; None where nobody has recorded that yet. clock_us: since the epoch."""

    url: str
    scope: str
    namespace: str
    format: int | None
    clock_us: int

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "url": self.url,
            "scope": self.scope,
            "namespace": self.namespace,
            "format": self.format,
            "clock": instant(self.clock_us),
        }


@dataclass(frozen=True, slots=True)
class Problem:
    """A state that cannot be read, and why."""

    key: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The rows of the kinds that were asked for; other kinds are empty."""

    head: Head
    kinds: tuple[Kind, ...]
    breakers: tuple[BreakerRow, ...] = ()
    pools: tuple[PoolRow, ...] = ()
    limits: tuple[LimitRow, ...] = ()
    retries: tuple[RetryRow, ...] = ()
    budgets: tuple[BudgetRow, ...] = ()
    problems: tuple[Problem, ...] = ()

    def rows(self, kind: Kind) -> Sequence[Row]:
        """The rows of one kind."""
        found: Sequence[Row] = getattr(self, kind)
        return found

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "store": self.head.document(),
            **{kind: [row.document() for row in self.rows(kind)] for kind in self.kinds},
            "problems": [{"key": problem.key, "error": problem.error} for problem in self.problems],
        }

    def channels(self) -> Iterator[str]:
        """Where changes of what is shown are told."""
        for kind in self.kinds:
            if kind != "pools":
                yield from (f"{_KEYS[kind]}/{row.name}" for row in self.rows(kind) if not isinstance(row, PoolRow))
        for pool in self.pools:
            yield from (ticket.channel for ticket in pool.tickets)


async def head_of(store: StateStore) -> Head:
    """The store, and the format that its fleet writes.

    Raises:
        StateFormatError: this coterie does not read that. Unavailable: the store failed.
    """
    state, now = await store.read(KEY)
    written = None if state is None else await check_format(store)
    return Head(store.url, store.scope, store.namespace, written, now)


async def names_of(store: StateStore, kind: Kind) -> list[str]:
    """The names of all states of a kind, sorted."""
    return [key.partition("/")[2] for key in await store.keys(_KEYS[kind])]


async def take(store: StateStore, known: Known, kinds: Sequence[Kind], *, run: WorkflowId | None = None) -> Snapshot:
    """Read all states of these kinds. Each is read at a moment of its own: nothing is atomic across keys.

    run: of the budgets, those of this run alone.

    Raises:
        StateFormatError: the fleet's format is one that this coterie does not read. Unavailable: the store failed.
    """
    ending = "" if run is None else run_budget("", run)
    head = await head_of(store)
    problems: list[Problem] = []

    async def read(kind: Kind, row: Callable[[str, State | None, int], R]) -> tuple[R, ...]:
        if kind not in kinds:
            return ()
        names = [name for name in await names_of(store, kind) if kind != "budgets" or name.endswith(ending)]
        rows = []
        for first in range(0, len(names), _AT_ONCE):
            some = names[first : first + _AT_ONCE]
            states = await asyncio.gather(*(_read(store, f"{_KEYS[kind]}/{name}") for name in some))
            for name, found in zip(some, states, strict=True):
                try:
                    if isinstance(found, StateFormatError):
                        raise found
                    # Between the list and the look it may have gone.
                    if found[0] is not None:
                        rows.append(row(name, *found))
                except StateFormatError as error:
                    problems.append(Problem(f"{_KEYS[kind]}/{name}", str(error)))
        return tuple(rows)

    breakers = await read("breakers", lambda name, *seen: breaker_row(name, known.breaker(name), *seen))
    return Snapshot(
        head=head,
        kinds=tuple(kinds),
        breakers=_with_unstored(await _with_errors(store, breakers), known, head, problems)
        if "breakers" in kinds
        else (),
        pools=await read("pools", lambda name, *seen: pool_row(name, known.pool(name), *seen)),
        limits=await read("limits", lambda name, *seen: limit_row(name, known.limit(name), *seen)),
        retries=await read("retries", lambda name, *seen: retry_row(name, known.retries(name), *seen)),
        budgets=await read("budgets", lambda name, *seen: budget_row(name, known.budget(name), *seen)),
        problems=tuple(problems),
    )


async def _with_errors(store: StateStore, rows: Sequence[BreakerRow]) -> tuple[BreakerRow, ...]:
    """With what those have opened after that are not closed: of the others, nothing is asked."""
    notes: dict[str, Note | None] = {}
    tripped = [row.name for row in rows if row.is_tripped]
    for first in range(0, len(tripped), _AT_ONCE):
        some = tripped[first : first + _AT_ONCE]
        notes |= zip(some, await asyncio.gather(*(read_note(store, name) for name in some)), strict=True)
    return tuple(with_error(row, notes.get(row.name)) for row in rows)


def _with_unstored(
    stored: Sequence[BreakerRow], known: Known, head: Head, problems: Sequence[Problem]
) -> tuple[BreakerRow, ...]:
    """And the breakers of the team that have had nothing to store."""
    seen = {row.name for row in stored} | {problem.key.partition("/")[2] for problem in problems}
    rest = (breaker_row(name, known.breaker(name), None, head.clock_us) for name in known.breakers if name not in seen)
    return tuple(sorted([*stored, *rest], key=lambda row: row.name))


async def _read(store: StateStore, key: str) -> tuple[State | None, int] | StateFormatError:
    try:
        return await store.read(key)
    except StateFormatError as error:
        return error
