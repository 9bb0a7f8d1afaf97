"""Journals on disk and on servers that fail, and a clock that can be set."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from coterie.stores.journal_sqlite import SqliteJournalStore
from coterie.stores.redis import RedisJournalPolicy, RedisJournalStore, open_redis_journal
from tests.fleet.journal.tools import WallClock
from tests.fleet.stores.redis_waiting import all_closed
from tests.support.redis_servers import SYNCED, Server, valkey

# Short, so that tests of silence are; a loop that is held up for so long is none of their subjects.
_HASTY = RedisJournalPolicy(
    connect_timeout_s=0.5, op_timeout_s=0.5, update_timeout_s=1.0, ping_every_s=0.1, close_timeout_s=0.2
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.journal.db"


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
async def sqlite_journal(path: Path) -> AsyncIterator[SqliteJournalStore]:
    store = SqliteJournalStore(path)
    yield store
    await store.aclose()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that the test may harm."""
    with valkey(arguments=SYNCED) as running:
        yield running


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., RedisJournalStore]]:
    """Opens journals on servers, and closes them."""
    async with all_closed() as stores:

        def open_one(
            url: str, *, namespace: str | None = None, policy: RedisJournalPolicy = _HASTY
        ) -> RedisJournalStore:
            stores.append(store := open_redis_journal(url, namespace or uuid.uuid4().hex, policy=policy))
            return store

        yield open_one
