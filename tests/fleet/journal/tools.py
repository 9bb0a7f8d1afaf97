"""What the tests of journals in files look with, and hold them up with."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from coterie._rules.written import Changed
from coterie.stores.journal_sqlite import SqliteJournalStore


class WallClock:
    """A clock that can be set, also back."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


class Gate:
    """A decision that holds the store's thread until it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()

    def __call__(self, texts: Mapping[str, str | None], now: int) -> Changed[None]:
        self.reached.set()
        assert self.open.wait(20)
        return Changed({}, None)


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, as another program sees it."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def check(path: Path) -> str:
    """ "ok", or what SQLite finds wrong."""
    with raw(path) as connection:
        return "; ".join(str(line) for (line,) in connection.execute("PRAGMA integrity_check"))


async def asked(store: SqliteJournalStore, statement: str) -> object:
    """The first value that the store's own connection answers."""
    return await store._file.done(lambda transaction: transaction._connection.execute(statement).fetchone()[0])


async def traced(store: SqliteJournalStore) -> list[str]:
    """What the store's own connection executes from now on."""
    statements: list[str] = []
    await store._file.done(lambda transaction: transaction._connection.set_trace_callback(statements.append))
    return statements
