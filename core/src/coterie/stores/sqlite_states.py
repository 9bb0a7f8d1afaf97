"""The states of one SQLite file: their table, and what the store's thread does with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from coterie._rules.decided import Signal
from coterie.stores.sqlite_file import Form
from coterie.stores.sqlite_signals import SignallingTables

__all__ = ["StateTables", "StateTransaction"]

_FORM = Form(
    kind="state",
    # "cotr".
    application=0x636F7472,
    version=1,
    tables=(
        """CREATE TABLE IF NOT EXISTS states (
            namespace TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL,
            expires INTEGER, -- microseconds since the epoch
            PRIMARY KEY (namespace, key)
        ) WITHOUT ROWID""",
        "CREATE INDEX IF NOT EXISTS expiring ON states (expires) WHERE expires IS NOT NULL",
    ),
    # A crash of the process loses nothing; a power cut may lose the last moments, which state for coordination may.
    synchronous="NORMAL",
    if_damaged="stop what uses it, move it away with its '-wal' and '-shm' files, and start again: breakers, pools "
    "and limits begin anew",
)
# Expired states are removed so many at a time.
_SWEPT = 500


class StateTransaction:
    """What the works of one transaction see of the states: each what the one before it left."""

    def __init__(self, connection: sqlite3.Connection, namespace: str, now: Callable[[], int]) -> None:
        self._connection = connection
        self._namespace = namespace
        self._texts: dict[str, str | None] = {}
        self._changed: dict[str, int | None] = {}
        self.signals: list[Signal] = []
        self.now = now

    def text(self, key: str, now: int) -> str | None:
        """The JSON text of a state, or None."""
        if key not in self._texts:
            row = self._connection.execute(
                "SELECT state FROM states WHERE namespace = ? AND key = ? AND (expires IS NULL OR expires > ?)",
                (self._namespace, key, now),
            ).fetchone()
            self._texts[key] = None if row is None else row[0]
        return self._texts[key]

    def put(self, key: str, text: str | None, expires: int | None) -> None:
        """Change a state, or remove it; written with `flush`."""
        self._texts[key] = text
        self._changed[key] = expires

    def keys(self, kind: str, now: int) -> list[str]:
        """All keys of a kind, sorted."""
        # '0' is the character after '/'.
        rows = self._connection.execute(
            "SELECT key FROM states WHERE namespace = ? AND key > ? AND key < ? "
            "AND (expires IS NULL OR expires > ?) ORDER BY key",
            (self._namespace, f"{kind}/", f"{kind}0", now),
        )
        return [key for (key,) in rows]

    def is_full(self) -> bool:
        """Never: states are small."""
        return False

    def flush(self) -> None:
        """Write what was changed."""
        for key, expires in self._changed.items():
            text = self._texts[key]
            if text is None:
                self._connection.execute("DELETE FROM states WHERE namespace = ? AND key = ?", (self._namespace, key))
            else:
                self._connection.execute(
                    "INSERT INTO states VALUES (?, ?, ?, ?) ON CONFLICT (namespace, key) "
                    "DO UPDATE SET state = excluded.state, expires = excluded.expires",
                    (self._namespace, key, text, expires),
                )

    def sweep(self) -> None:
        """Remove expired states, of all namespaces."""
        self._connection.execute(
            "DELETE FROM states WHERE (namespace, key) IN "
            "(SELECT namespace, key FROM states WHERE expires <= ? LIMIT ?)",
            (self.now(), _SWEPT),
        )


class StateTables(SignallingTables):
    """The states of one file, and who is told of their changes."""

    form = _FORM

    def __init__(self, path: Path, namespace: str, now: Callable[[], int]) -> None:
        super().__init__(path, namespace)
        self._now = now

    def begin(self, connection: sqlite3.Connection) -> StateTransaction:
        """A transaction on the states of the namespace."""
        return StateTransaction(connection, self._namespace, self._now)

    def stored(self, transaction: StateTransaction) -> None:
        """Tell all who listen."""
        self._tell(transaction.signals)
