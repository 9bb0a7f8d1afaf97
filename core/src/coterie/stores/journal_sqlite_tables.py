"""The runs of one SQLite file: their tables, and what the store's thread does with them.

The texts lie in the order in which they were written, beside an index by path: of all that was measured, this costs
least where paths come in any order, and does not grow with the size of a text. The log is moved into the database
after those who wrote have got their answers, and seldom, as many commits change the same pages of the index.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from coterie._rules.written import RunEntry
from coterie.ports import Durability
from coterie.stores.sqlite_file import Form, synchronous

__all__ = ["JournalTables", "JournalTransaction", "journal_form"]

_TABLES = (
    # Numbers are never used again: a cursor, and what is left of a removed run, mean that run and no other.
    """CREATE TABLE IF NOT EXISTS runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        namespace TEXT NOT NULL, run TEXT NOT NULL,
        begun INTEGER NOT NULL, changed INTEGER NOT NULL, -- microseconds since the epoch
        UNIQUE (namespace, run)
    )""",
    "CREATE INDEX IF NOT EXISTS listed ON runs (namespace)",
    """CREATE TABLE IF NOT EXISTS texts (
        run INTEGER NOT NULL, shelf TEXT NOT NULL, path TEXT NOT NULL, text TEXT NOT NULL,
        PRIMARY KEY (run, shelf, path)
    )""",
    # Numbers of runs that nobody finds any more, and whose texts are being removed.
    "CREATE TABLE IF NOT EXISTS removed (number INTEGER PRIMARY KEY)",
)
_DAMAGED = (
    "keep it, as it holds runs, and what reads without this error is whole: stop what uses it, copy it together with "
    "its '-wal' and '-shm' files, save what can be read by `python -m coterie.stores.journal_salvage COPY NEW`, and "
    "put NEW in the place of all three"
)
# The log is moved into the database after so many pages of 4 KiB and so many commits, or after the most pages. A short
# log is written over and over, which syncs faster than a growing one; many commits change the same pages.
_LOG_PAGES = 1000
_LOG_COMMITS = 30
_MOST_LOG_PAGES = 8000
# So long may it take to get a turn at that, where others write.
_RESTART_MS = 500
# A transaction that has so much to write takes no more.
_FULL_ROWS = 4096
_FULL_BYTES = 8 * 2**20
# How far `changed` may lag behind: then a write to a run need not change the run's own row, too.
_LAG_US = 30_000_000
_NOTHING: Mapping[str, str | None] = {}
# A reading, or removing, transaction takes at most so much.
_READ_ROWS = 2000
_READ_BYTES = 4 * 2**20
_REMOVED_ROWS = 2000

_PUT = (
    "INSERT INTO texts (run, shelf, path, text) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (run, shelf, path) DO UPDATE SET text = excluded.text"
)


def journal_form(durability: Durability) -> Form:
    """What a journal's database is like.

    Raises:
        Misuse: a file cannot be so durable, or so little.
    """
    return Form(
        kind="journal",
        # "cotj".
        application=0x636F746A,
        version=1,
        tables=_TABLES,
        synchronous=synchronous(durability, "a journal"),
        # Should others not do as `JournalTables.tend` does.
        log_pages=4 * _MOST_LOG_PAGES,
        if_damaged=_DAMAGED,
        unwritable_is_read=True,
    )


class _Run(NamedTuple):
    number: int
    changed: int


class JournalTransaction:
    """What the works of one transaction see of the runs: each what the one before it left."""

    def __init__(self, connection: sqlite3.Connection, namespace: str, now: Callable[[], int]) -> None:
        self._connection = connection
        self._namespace = namespace
        self._runs: dict[str, _Run | None] = {}
        # Texts of main shelves, as they were before; and, by shelf, those that were changed.
        self._read: dict[tuple[int, str], str | None] = {}
        self._changed: dict[tuple[int, str], dict[str, str | None]] = {}
        self._rows = 0
        self._bytes = 0
        self.now = now

    @property
    def pages(self) -> int:
        """About so many pages of the file will be changed, at most."""
        return 2 + self._rows + self._bytes // 4096

    def number(self, run: str) -> int | None:
        """The run's own number, or None if there is no such run."""
        found = self._run(run)
        return None if found is None else found.number

    def text(self, run: str, path: str) -> str | None:
        """A text of the main shelf, or None."""
        number = self.number(run)
        if number is None:
            return None
        changed = self._changed.get((number, ""), _NOTHING)
        if path in changed:
            return changed[path]
        if (number, path) not in self._read:
            row = self._connection.execute(
                "SELECT text FROM texts WHERE run = ? AND shelf = '' AND path = ?", (number, path)
            ).fetchone()
            self._read[number, path] = None if row is None else row[0]
        return self._read[number, path]

    def put(self, run: str, shelf: str, texts: Mapping[str, str | None]) -> None:
        """Change texts of a shelf, or remove them; written with `flush`. The first text begins the run."""
        if not texts:
            return
        number, now = self.number(run), self.now()
        if number is None:
            if all(text is None for text in texts.values()):
                return
            number = self._begin(run, now)
        self._changed.setdefault((number, shelf), {}).update(texts)
        self._rows += len(texts)
        self._bytes += sum(map(len, texts)) + sum(map(len, filter(None, texts.values())))
        self._touch(run, now)

    def remove(self, run: str) -> bool:
        """Let nobody find the run any more; `clear` removes its texts. Whether there was one."""
        number = self.number(run)
        if number is None:
            return False
        self._runs[run] = None
        self._changed = {key: texts for key, texts in self._changed.items() if key[0] != number}
        self._connection.execute("DELETE FROM runs WHERE number = ?", (number,))
        self._connection.execute("INSERT INTO removed VALUES (?)", (number,))
        return True

    def clear(self) -> bool:
        """Remove some texts of removed runs; whether any are left."""
        row = self._connection.execute("SELECT number FROM removed LIMIT 1").fetchone()
        if row is None:
            return False
        removed = self._connection.execute(
            "DELETE FROM texts WHERE rowid IN (SELECT rowid FROM texts WHERE run = ? LIMIT ?)", (*row, _REMOVED_ROWS)
        )
        if removed.rowcount < _REMOVED_ROWS:
            self._connection.execute("DELETE FROM removed WHERE number = ?", row)
        return True

    def shelf(self, number: int, shelf: str, after: str) -> tuple[list[tuple[str, str]], bool]:
        """Some texts of a shelf, with their paths, from behind the path `after` on; and whether there may be more."""
        rows = self._connection.execute(
            "SELECT path, text FROM texts WHERE run = ? AND shelf = ? AND path > ? ORDER BY path LIMIT ?",
            (number, shelf, after, _READ_ROWS),
        )
        found, size = [], 0
        for path, text in rows:
            found.append((path, text))
            size += len(text)
            if size > _READ_BYTES:
                return found, True
        return found, len(found) == _READ_ROWS

    def entries(self, before: int | None, limit: int) -> list[tuple[int, RunEntry]]:
        """Runs by number, the highest first, from below `before` on."""
        rows: Iterable[tuple[int, str, int, int]] = self._connection.execute(
            "SELECT number, run, begun, changed FROM runs INDEXED BY listed WHERE namespace = ? AND number < ? "
            "ORDER BY number DESC LIMIT ?",
            (self._namespace, 2**63 - 1 if before is None else before, limit),
        )
        return [(number, RunEntry(run, begun, changed)) for number, run, begun, changed in rows]

    def is_full(self) -> bool:
        """Whether it has as much to write as one transaction should."""
        return self._rows >= _FULL_ROWS or self._bytes >= _FULL_BYTES

    def flush(self) -> None:
        """Write what was changed."""
        for (number, shelf), texts in self._changed.items():
            kept = [(number, shelf, path, text) for path, text in texts.items() if text is not None]
            if kept:
                self._connection.executemany(_PUT, kept)
            if len(kept) < len(texts):
                gone = [(number, shelf, path) for path, text in texts.items() if text is None]
                self._connection.executemany("DELETE FROM texts WHERE run = ? AND shelf = ? AND path = ?", gone)

    def sweep(self) -> None:
        """Go on with what a process that is no more had begun to remove."""
        self.clear()

    def _run(self, run: str) -> _Run | None:
        if run not in self._runs:
            row = self._connection.execute(
                "SELECT number, changed FROM runs WHERE namespace = ? AND run = ?", (self._namespace, run)
            ).fetchone()
            self._runs[run] = None if row is None else _Run(*row)
        return self._runs[run]

    def _begin(self, run: str, now: int) -> int:
        number = self._connection.execute(
            "INSERT INTO runs (namespace, run, begun, changed) VALUES (?, ?, ?, ?)", (self._namespace, run, now, now)
        ).lastrowid
        assert number is not None
        self._runs[run] = _Run(number, now)
        return number

    def _touch(self, run: str, now: int) -> None:
        found = self._runs[run]
        if found is not None and now - found.changed >= _LAG_US:
            self._connection.execute("UPDATE runs SET changed = ? WHERE number = ?", (now, found.number))
            self._runs[run] = found._replace(changed=now)


class JournalTables:
    """The runs of one file."""

    def __init__(self, namespace: str, durability: Durability, now: Callable[[], int]) -> None:
        self.form = journal_form(durability)
        self._namespace = namespace
        self._now = now
        self._pages = 0
        self._commits = 0

    def begin(self, connection: sqlite3.Connection) -> JournalTransaction:
        """A transaction on the runs of the namespace."""
        return JournalTransaction(connection, self._namespace, self._now)

    def stored(self, transaction: JournalTransaction) -> None:
        """Count what was written to the log."""
        self._pages += transaction.pages
        self._commits += 1

    def tend(self, connection: sqlite3.Connection) -> None:
        """Move the log into the database, if there is enough of it."""
        if self._pages < (_LOG_PAGES if self._commits >= _LOG_COMMITS else _MOST_LOG_PAGES):
            return
        self._pages = self._commits = 0
        _, logged, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if logged > 2 * _MOST_LOG_PAGES:
            _restart(connection)

    def close(self) -> None:
        """Nothing: SQLite itself moves the log when the last process closes the file."""

    def inherited(self) -> None:
        """The child has written nothing yet."""
        self._pages = self._commits = 0


def _restart(connection: sqlite3.Connection) -> None:
    """Where others always write, the log begins anew only if they wait for the rest of it to be moved."""
    connection.execute(f"PRAGMA busy_timeout={_RESTART_MS}")
    try:
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    finally:
        connection.execute("PRAGMA busy_timeout=0")
