"""Runs of one machine, in a SQLite file: the default, as every task of a scheduler is a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from coterie._rules.written import Change, Guard, Page
from coterie.clock import Clock
from coterie.ports import Durability
from coterie.stores.journal_sqlite_tables import JournalTables, JournalTransaction
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
from coterie.stores.scopes import MachineStore
from coterie.stores.sqlite_access import Access, clock_us

__all__ = ["SqliteJournalStore"]

T = TypeVar("T")


class SqliteJournalStore(MachineStore):
    """A `JournalStore` for all processes of one machine and one user.

    path: an absolute path, best with a folder of its own; files appear beside it (`-wal`, `-shm`).
    durability: "strict", what was acknowledged survives a power cut (`synchronous=FULL`: one sync of the disk for all
        who wait at the same time); or "relaxed", it survives the end of any process, and a power cut may lose the
        last moments (`synchronous=NORMAL`).
    clock: the wall clock of the machine, if not given.
    patience_s: after that long without an answer a call raises `Unavailable`.

    Readers wait for nobody's lock. A forked child may go on using the store: it opens its own connection. A run that
    was removed is not found from then on; its texts are gone when `remove` returns, or soon after if it is cancelled.
    """

    def __init__(
        self,
        path: str | Path,
        namespace: str = "default",
        *,
        durability: Durability = "strict",
        clock: Clock | None = None,
        patience_s: float = 10.0,
    ) -> None:
        super().__init__(path, namespace)
        self._durability = durability
        tables = JournalTables(namespace, durability, clock_us(clock))
        self._file: Access[JournalTransaction] = Access(self._path, tables, patience_s=patience_s)

    def __repr__(self) -> str:
        return f"SqliteJournalStore({str(self._path)!r}, {self._namespace!r}, durability={self._durability!r})"

    @property
    def durability(self) -> Durability:
        """As it was given."""
        return self._durability

    async def change(self, run: str, paths: Sequence[str], decide: Change[T]) -> T:
        """Apply a decision, in one transaction with others that wait; see `JournalStore.change`."""
        self._file.check_open()
        return await self._file.done(partial(_change, check_run(run), check_paths(paths), decide), writes=True)

    async def write(
        self, run: str, texts: Mapping[str, str | None], *, guard: Guard | None = None, shelf: str = ""
    ) -> None:
        """Write texts to one shelf, if the guard holds, in one transaction with others that wait."""
        self._file.check_open()
        check_run(run)
        copied = check_texts(texts, run)
        await self._file.done(partial(_write, run, check_shelf(shelf), copied, check_guard(guard, run)), writes=True)

    async def get(self, run: str, paths: Sequence[str]) -> tuple[dict[str, str], int]:
        """Those of these texts that are there, as they were at one moment, and the clock in microseconds."""
        self._file.check_open()
        return await self._file.done(partial(_get, check_run(run), check_paths(paths)))

    async def read(self, run: str, shelf: str = "") -> dict[str, str]:
        """All texts of a shelf. A long one is read in several transactions, so that it is in nobody's way."""
        self._file.check_open()
        check_run(run)
        check_shelf(shelf)
        number = await self._file.done(lambda transaction: transaction.number(run))
        texts: dict[str, str] = {}
        after, more = "", number is not None
        while number is not None and more:
            found, more = await self._file.done(partial(_shelf, number, shelf, after))
            texts.update(found)
            after = found[-1][0] if found else after
        return texts

    async def runs(self, *, limit: int, after: str | None = None) -> Page:
        """Runs, the one begun last first."""
        self._file.check_open()
        size, before = check_limit(limit), None if after is None else check_number(after)
        found = await self._file.done(lambda transaction: transaction.entries(before, size + 1))
        page = found[:size]
        return Page(tuple(entry for _, entry in page), str(page[-1][0]) if len(found) > size else None)

    async def remove(self, run: str) -> bool:
        """Remove a run at once, then its texts, some at a time, so that it is in nobody's way."""
        self._file.check_open()
        check_run(run)
        return await self._file.removed(lambda transaction: transaction.remove(run), JournalTransaction.clear)

    async def aclose(self) -> None:
        """End what was begun, within 5 s, and release the file."""
        await self._file.aclose()


def _change(run: str, paths: tuple[str, ...], decide: Change[T], transaction: JournalTransaction) -> T:
    texts = {path: transaction.text(run, path) for path in paths}
    changed = decide(texts, transaction.now())
    transaction.put(run, "", checked_change(changed, paths, run))
    return changed.result


def _write(
    run: str, shelf: str, texts: dict[str, str | None], guard: Guard | None, transaction: JournalTransaction
) -> None:
    if guard is not None and transaction.text(run, guard.path) != guard.text:
        raise stale(guard, run)
    transaction.put(run, shelf, texts)


def _get(run: str, paths: tuple[str, ...], transaction: JournalTransaction) -> tuple[dict[str, str], int]:
    found = ((path, transaction.text(run, path)) for path in paths)
    texts = {path: text for path, text in found if text is not None}
    # The clock is looked at last: no text is younger than its time.
    return texts, transaction.now()


def _shelf(number: int, shelf: str, after: str, transaction: JournalTransaction) -> tuple[list[tuple[str, str]], bool]:
    return transaction.shelf(number, shelf, after)
