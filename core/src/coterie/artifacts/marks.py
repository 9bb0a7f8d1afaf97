"""Which content is reachable: a set of digests, and a stack of documents to look into, both of any size.

They lie in a temporary database without a name, which is in memory while it is small and on disk when it is not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from coterie.artifacts.references import Found

__all__ = ["Marks"]

_CACHE_KIB = 16 * 1024
_TABLES = """
CREATE TABLE marks (digest BLOB PRIMARY KEY, followed INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE stack (place INTEGER PRIMARY KEY, digest BLOB NOT NULL, size_bytes INTEGER);
"""


class Marks:
    """May be used from any thread; close it at the end."""

    def __init__(self) -> None:
        import sqlite3

        self._lock = threading.Lock()
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        # Nobody else sees it, and nothing of it outlives this process.
        self._database.executescript(
            f"PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;{_TABLES}"
        )

    def add(self, found: Iterable[Found]) -> None:
        """Mark content, and put on the stack what is to be followed and never was."""
        with self._lock, self._database:
            self._database.execute("BEGIN")
            for one in found:
                self._add(bytes.fromhex(one.sha256), one)

    def take(self, limit: int) -> list[Found]:
        """Take documents from the top of the stack; none when it is empty."""
        with self._lock, self._database:
            top = self._database.execute(
                "SELECT place, digest, size_bytes FROM stack ORDER BY place DESC LIMIT ?", (limit,)
            ).fetchall()
            if top:
                self._database.execute("DELETE FROM stack WHERE place >= ?", (top[-1][0],))
        return [Found(digest.hex(), size_bytes, follow=True) for _, digest, size_bytes in top]

    def marked(self, digests: Sequence[str]) -> set[str]:
        """Those of at most 1000 digests that are marked."""
        wanted = [bytes.fromhex(digest) for digest in digests]
        query = f"SELECT digest FROM marks WHERE digest IN ({','.join('?' * len(wanted))})"  # noqa: S608 # only marks
        with self._lock:
            return {digest.hex() for (digest,) in self._database.execute(query, wanted)}

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            self._database.close()

    def _add(self, digest: bytes, found: Found) -> None:
        run = self._database.execute
        new = run("INSERT OR IGNORE INTO marks VALUES (?, ?)", (digest, found.follow)).rowcount
        if not found.follow:
            return
        # Named before as something else, say as plain bytes: it is to be followed now.
        if new or run("UPDATE marks SET followed = 1 WHERE digest = ? AND followed = 0", (digest,)).rowcount:
            run("INSERT INTO stack (digest, size_bytes) VALUES (?, ?)", (digest, found.size_bytes))
