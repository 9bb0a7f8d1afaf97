"""Runs of one process, in memory: for tests, and for runs that need not outlive it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import TypeVar

from coterie._rules.written import Change, Guard, Page, RunEntry
from coterie.clock import Clock
from coterie.ports import Durability
from coterie.stores.journals import (
    check_guard,
    check_limit,
    check_number,
    check_paths,
    check_run,
    check_shelf,
    check_texts,
    checked_change,
    stale,
)
from coterie.stores.scopes import ProcessStore

__all__ = ["MemoryJournalStore"]

T = TypeVar("T")

_NO_TEXTS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class _Run:
    """number: grows with each run that begins."""

    number: int
    begun_at: int
    changed_at: int
    shelves: dict[str, dict[str, str]] = field(default_factory=dict)


class MemoryJournalStore(ProcessStore):
    """A `JournalStore` that is a dictionary, for one event loop; nothing of it survives the process.

    clock: its wall clock; a test's may also go back.
    """

    def __init__(self, namespace: str = "default", *, clock: Clock | None = None) -> None:
        super().__init__("journal", namespace, clock)
        # In the order in which they began.
        self._runs: dict[str, _Run] = {}
        self._begun = 0

    def __repr__(self) -> str:
        return f"MemoryJournalStore({self._namespace!r}, runs={len(self._runs)})"

    @property
    def durability(self) -> Durability:
        """Nothing survives."""
        return "none"

    async def change(self, run: str, paths: Sequence[str], decide: Change[T]) -> T:
        """Apply a decision; see `JournalStore.change`. The texts that it is given cannot be changed."""
        self._check_open()
        check_run(run)
        asked = check_paths(paths)
        shelf, now = self._shelf(run, ""), self._now()
        changed = decide(MappingProxyType({path: shelf.get(path) for path in asked}), now)
        self._put(run, "", checked_change(changed, frozenset(asked), run), now)
        return changed.result

    async def write(
        self, run: str, texts: Mapping[str, str | None], *, guard: Guard | None = None, shelf: str = ""
    ) -> None:
        """Write texts to one shelf, if the guard holds; see `JournalStore.write`."""
        self._check_open()
        check_run(run)
        check_shelf(shelf)
        copied = check_texts(texts, run)
        check_guard(guard, run)
        if guard is not None and self._shelf(run, "").get(guard.path) != guard.text:
            raise stale(guard, run)
        self._put(run, shelf, copied, self._now())

    async def get(self, run: str, paths: Sequence[str]) -> tuple[dict[str, str], int]:
        """Those of these texts that are there, and the clock in microseconds."""
        self._check_open()
        shelf = self._shelf(check_run(run), "")
        return {path: shelf[path] for path in check_paths(paths) if path in shelf}, self._now()

    async def read(self, run: str, shelf: str = "") -> dict[str, str]:
        """All texts of a shelf, as they are now."""
        self._check_open()
        return dict(self._shelf(check_run(run), check_shelf(shelf)))

    async def runs(self, *, limit: int, after: str | None = None) -> Page:
        """Runs, the one begun last first."""
        self._check_open()
        size = check_limit(limit)
        end = self._begun + 1 if after is None else check_number(after)
        newest_first = reversed(self._runs.items())
        found = list(islice(((name, run) for name, run in newest_first if run.number < end), size + 1))
        page = found[:size]
        entries = tuple(RunEntry(name, run.begun_at, run.changed_at) for name, run in page)
        return Page(entries, str(page[-1][1].number) if len(found) > size else None)

    async def remove(self, run: str) -> bool:
        """Forget a run; whether there was one."""
        self._check_open()
        return self._runs.pop(check_run(run), None) is not None

    async def aclose(self) -> None:
        """Forget everything."""
        self._closed = True
        self._runs.clear()

    def _shelf(self, run: str, shelf: str) -> Mapping[str, str]:
        found = self._runs.get(run)
        return _NO_TEXTS if found is None else found.shelves.get(shelf, _NO_TEXTS)

    def _put(self, run: str, shelf: str, texts: Mapping[str, str | None], now: int) -> None:
        found = self._runs.get(run)
        if found is None:
            if all(text is None for text in texts.values()):
                return
            self._begun += 1
            found = self._runs[run] = _Run(self._begun, now, now)
        kept = found.shelves.setdefault(shelf, {})
        for path, text in texts.items():
            if text is None:
                kept.pop(path, None)
            else:
                kept[path] = text
        if texts:
            found.changed_at = max(found.changed_at, now)
