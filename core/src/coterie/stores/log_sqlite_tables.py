"""The topics of one SQLite file: their tables, and what the store's thread does with them.

A message lies at its topic's number times 2^38, plus its position: so all of one topic lie together, in order, and
what is appended is written at one place. What a group has read past and is not done with has an entry in `pending`:
for the rest, one number a group is enough, however long its topic is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from coterie.ports import Durability
from coterie.stores.log_sqlite_transaction import LogTransaction
from coterie.stores.log_sqlite_upkeep import sweep
from coterie.stores.sqlite_file import Form, synchronous
from coterie.stores.sqlite_signals import SignallingTables

__all__ = ["LogTables", "log_form"]

_TABLES = (
    # Numbers are never used again: what is left of a dropped topic, or group, is of that one and no other.
    """CREATE TABLE IF NOT EXISTS topics (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        namespace TEXT NOT NULL, name TEXT NOT NULL,
        first INTEGER NOT NULL, -- position of the oldest message that is kept, or of the next one
        last INTEGER NOT NULL,  -- position of the newest one: how many there ever were
        kept INTEGER NOT NULL,
        gone INTEGER NOT NULL,  -- up to this position, messages are removed, too, not only dropped
        at INTEGER NOT NULL,    -- when the newest one was appended: microseconds since the epoch, never going back
        max_age INTEGER, idle INTEGER, -- microseconds
        UNIQUE (namespace, name)
    )""",
    """CREATE TABLE IF NOT EXISTS messages (
        place INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        until INTEGER NOT NULL, -- its id is remembered
        id TEXT NOT NULL, type TEXT NOT NULL, key TEXT NOT NULL, priority INTEGER NOT NULL, text TEXT NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS message_ids ON messages (id)",
    # Of messages that went before their ids may be forgotten.
    """CREATE TABLE IF NOT EXISTS remembered (
        topic INTEGER NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL, until INTEGER NOT NULL,
        PRIMARY KEY (topic, id)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS forgetting ON remembered (until)",
    """CREATE TABLE IF NOT EXISTS groups (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        topic INTEGER NOT NULL, name TEXT NOT NULL,
        position INTEGER NOT NULL, -- up to which it has read
        waiting INTEGER NOT NULL,  -- how many are pending that nobody holds
        lost INTEGER NOT NULL,     -- and nobody was told yet
        ageing INTEGER,            -- microseconds that one step of priority is worth; none: in the log's order
        UNIQUE (topic, name)
    )""",
    """CREATE TABLE IF NOT EXISTS consumers (
        grp INTEGER NOT NULL, name TEXT NOT NULL, until INTEGER NOT NULL, lease INTEGER NOT NULL,
        PRIMARY KEY (grp, name)
    ) WITHOUT ROWID""",
    # What a group has read past and is not done with. Of each key, one stands in front; the others are behind it.
    """CREATE TABLE IF NOT EXISTS pending (
        grp INTEGER NOT NULL, position INTEGER NOT NULL,
        state INTEGER NOT NULL,    -- 0 held, 1 ready, 2 due later, 3 behind another one of its key
        rank INTEGER NOT NULL,     -- who is first: the smallest; 0 where the log's order is
        due INTEGER NOT NULL,      -- not to be delivered before
        number INTEGER NOT NULL,   -- deliveries so far
        copied INTEGER NOT NULL,   -- 1: its message lies in `copies`
        consumer TEXT NOT NULL, key TEXT NOT NULL, failures TEXT NOT NULL,
        PRIMARY KEY (grp, position)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS holding ON pending (grp, consumer, position) WHERE state = 0",
    "CREATE INDEX IF NOT EXISTS ready ON pending (grp, rank, position) WHERE state = 1",
    "CREATE INDEX IF NOT EXISTS later ON pending (grp, due) WHERE due > 0 AND state > 1",
    "CREATE UNIQUE INDEX IF NOT EXISTS fronts ON pending (grp, key) WHERE key <> '' AND state < 3",
    "CREATE INDEX IF NOT EXISTS behind ON pending (grp, key, position) WHERE state = 3",
    # Dead letters, and what was dropped from its topic while it was pending.
    """CREATE TABLE IF NOT EXISTS copies (
        grp INTEGER NOT NULL, position INTEGER NOT NULL,
        at INTEGER NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, key TEXT NOT NULL, priority INTEGER NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (grp, position)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS dead (
        grp INTEGER NOT NULL, position INTEGER NOT NULL, number INTEGER NOT NULL, failures TEXT NOT NULL,
        PRIMARY KEY (grp, position)
    ) WITHOUT ROWID""",
    # Numbers of topics and groups that nobody finds any more, and what belonged to them is being removed.
    "CREATE TABLE IF NOT EXISTS removed_topics (number INTEGER PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS removed_groups (number INTEGER PRIMARY KEY)",
)
_DAMAGED = (
    "keep it, as it holds messages that may not have been worked off: stop what uses it, move it away with its '-wal' "
    "and '-shm' files, and start again: topics begin anew"
)


def log_form(durability: Durability) -> Form:
    """What a log's database is like.

    Raises:
        Misuse: a file cannot be so durable, or so little.
    """
    return Form(
        kind="log",
        # "cotl".
        application=0x636F746C,
        version=1,
        tables=_TABLES,
        synchronous=synchronous(durability, "a log"),
        if_damaged=_DAMAGED,
        unwritable_is_read=True,
    )


class LogTables(SignallingTables):
    """The topics of one file, and who is told of what comes."""

    def __init__(self, path: Path, namespace: str, durability: Durability, now: Callable[[], int]) -> None:
        super().__init__(path, namespace)
        self.form = log_form(durability)
        self._now = now

    def begin(self, connection: sqlite3.Connection) -> LogTransaction:
        """A transaction on the topics of the namespace."""
        return LogTransaction(connection, self._namespace, self._now, sweep)

    def stored(self, transaction: LogTransaction) -> None:
        """Tell all who watch."""
        self._tell(tuple(transaction.signals.values()))
