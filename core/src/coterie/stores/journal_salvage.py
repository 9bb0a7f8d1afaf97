"""Save what can be read of a damaged journal into a new file: `python -m coterie.stores.journal_salvage COPY NEW`.

SQLite finds a row by its number without reading those before it. So what lies behind a damaged place is found by
trying numbers, near ones first, and reading on from there in both directions.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from coterie.errors import CoterieError, Misuse, StateFormatError
from coterie.stores.journal_sqlite_tables import journal_form
from coterie.stores.sqlite_file import open_database

__all__ = ["Salvaged", "salvage"]

_Row: TypeAlias = tuple[int | str, ...]

# After a damaged place, so many numbers are tried one by one, then at doubled distances.
_NEAR = 4096
_HIGHEST = 2**62
# Where the texts are whose run's own row is lost.
_NAMESPACE = "salvaged"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What was saved. gaps: how many places could not be read.

    nameless: runs whose names are lost; they are now `run-<number>`, in the namespace `salvaged`.
    """

    runs: int
    texts: int
    gaps: int
    nameless: int


class _Rows:
    """All rows of a table that can be read, of the types that its columns have; `gaps` counts what was between."""

    def __init__(self, connection: sqlite3.Connection, table: str, columns: dict[str, type]) -> None:
        self._connection = connection
        self._types = tuple(columns.values())
        self._select = f"SELECT rowid, {', '.join(columns)} FROM {table} NOT INDEXED WHERE rowid"  # noqa: S608  # ours
        self.gaps = 0
        try:
            # Whether there is such a table, without a look at its rows.
            connection.execute(f"EXPLAIN {self._select} = 0")
        except sqlite3.DatabaseError as error:
            raise StateFormatError(
                f"the damaged journal has lost its table {table!r}: {error}; use a backup"
            ) from error

    def __iter__(self) -> Iterator[_Row]:
        for _, *row in self._all():
            if tuple(map(type, row)) == self._types:
                yield tuple(row)
            else:
                self.gaps += 1

    def _all(self) -> Iterator[_Row]:
        last: int | str = 0
        while True:
            try:
                for row in self._connection.execute(f"{self._select} > ? ORDER BY rowid", (last,)):
                    last = row[0]
                    yield row
            except sqlite3.DatabaseError:
                self.gaps += 1
            else:
                return
            behind = self._behind(int(last))
            if not behind:
                return
            last = behind[-1][0]
            yield from behind

    def _behind(self, last: int) -> list[_Row]:
        """The first rows that are found behind what cannot be read after the row `last`, in order."""
        distances = chain(range(1, _NEAR), (_NEAR << power for power in range(_HIGHEST.bit_length())))
        for start in (last + distance for distance in distances):
            if start > _HIGHEST:
                break
            try:
                found = self._connection.execute(f"{self._select} >= ? ORDER BY rowid LIMIT 1", (start,)).fetchall()
            except sqlite3.DatabaseError:
                continue
            return [*reversed(list(self._back(found[0][0], last))), *found] if found else []
        return []

    def _back(self, first: int, last: int) -> Iterator[_Row]:
        try:
            yield from self._connection.execute(
                f"{self._select} BETWEEN ? AND ? ORDER BY rowid DESC", (last + 1, first - 1)
            )
        except sqlite3.DatabaseError:
            # The damaged place, from its other end.
            return


def salvage(damaged: Path, new: Path) -> Salvaged:
    """Copy all that can be read of a journal. Blocking; `damaged` is best a copy, with its log beside it.

    Raises:
        Misuse: `new` is there already, or `damaged` is not.
        StateFormatError: not even its tables are found.
    """
    if new.exists() or not damaged.is_file():
        raise Misuse(f"{str(new)!r} must be new, and {str(damaged)!r} a file; give the damaged copy, then the new file")
    old = sqlite3.connect(damaged, isolation_level=None)
    try:
        tables = (
            _Rows(old, "runs", {"number": int, "namespace": str, "run": str, "begun": int, "changed": int}),
            _Rows(old, "removed", {"number": int}),
            _Rows(old, "texts", {"run": int, "shelf": str, "path": str, "text": str}),
        )
        target = open_database(new.absolute(), journal_form("strict"))
        try:
            target.execute("BEGIN")
            saved = _copy(*tables, target)
            target.execute("COMMIT")
        finally:
            target.close()
    finally:
        old.close()
    return saved


def _copy(runs: _Rows, removed: _Rows, texts: _Rows, target: sqlite3.Connection) -> Salvaged:
    target.executemany("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?)", runs)
    known = {number for (number,) in target.execute("SELECT number FROM runs")}
    gone = {number for (number,) in removed}
    nameless: set[int | str] = set()
    for row in texts:
        number = row[0]
        if number in gone:
            continue
        if number not in known and number not in nameless:
            nameless.add(number)
            target.execute("INSERT INTO runs VALUES (?, ?, ?, 0, 0)", (number, _NAMESPACE, f"run-{number}"))
        target.execute("INSERT OR IGNORE INTO texts VALUES (?, ?, ?, ?)", row)
    (count,) = target.execute("SELECT count(*) FROM texts").fetchone()
    return Salvaged(len(known) + len(nameless), count, runs.gaps + removed.gaps + texts.gaps, len(nameless))


def _main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m coterie.stores.journal_salvage COPY NEW\n")
        return 2
    try:
        saved = salvage(*map(Path, arguments))
    except CoterieError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"saved {saved.texts} texts of {saved.runs} runs; {saved.gaps} places could not be read\n")
    if saved.nameless:
        sys.stdout.write(f"{saved.nameless} runs lost their names: see 'run-…' in the namespace {_NAMESPACE!r}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
