"""An append-only log that is no part of what it watches: a Redis stream by plain commands, or a SQLite file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import redis

__all__ = ["Journal", "Row", "open_journal"]


class Row(NamedTuple):
    """at: microseconds of the store's clock, not before the row was appended; of a Redis stream, up to 1 ms after."""

    place: str
    at: int
    what: str
    name: str
    pid: int
    more: dict[str, Any]


class Journal(Protocol):
    """Rows are read in the order in which they were appended, by whatever process."""

    def append(self, what: str, name: str, pid: int, **more: Any) -> None: ...

    def after(self, place: str) -> list[Row]:
        """All rows since the one at `place`; "" for all."""
        ...

    def close(self) -> None: ...


class _Stream:
    def __init__(self, url: str, key: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True)
        self._key = key

    def append(self, what: str, name: str, pid: int, **more: Any) -> None:
        self._client.xadd(self._key, {"row": json.dumps([what, name, pid, more])})

    def after(self, place: str) -> list[Row]:
        found: Any = self._client.xrange(self._key, min=f"({place}" if place else "-")
        return [Row(at, _last_us(at), *json.loads(fields["row"])) for at, fields in found]

    def close(self) -> None:
        self._client.close()


class _Table:
    def __init__(self, path: str) -> None:
        self._log = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._log.execute("PRAGMA journal_mode=WAL")
        self._log.execute("PRAGMA synchronous=OFF")
        self._log.execute("CREATE TABLE IF NOT EXISTS log (place INTEGER PRIMARY KEY AUTOINCREMENT, at, row)")

    def append(self, what: str, name: str, pid: int, **more: Any) -> None:
        with self._alone():
            row = json.dumps([what, name, pid, more])
            self._log.execute("INSERT INTO log (at, row) VALUES (?, ?)", (time.time_ns() // 1000, row))

    def after(self, place: str) -> list[Row]:
        found = self._log.execute("SELECT place, at, row FROM log WHERE place > ? ORDER BY place", (int(place or 0),))
        return [Row(str(number), at, *json.loads(row)) for number, at, row in found]

    def close(self) -> None:
        self._log.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # The clock is read while nobody else appends, so that the order of places is the order of times.
        self._log.execute("BEGIN IMMEDIATE")
        yield
        self._log.execute("COMMIT")


def open_journal(url: str) -> Journal:
    """redis://...#key: a stream; else the path of a file."""
    if url.startswith("redis://"):
        server, _, key = url.partition("#")
        return _Stream(server, key)
    return _Table(url)


def _last_us(place: str) -> int:
    return int(place.partition("-")[0]) * 1000 + 999
