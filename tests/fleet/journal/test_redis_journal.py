"""The Redis journal keeps the contract of every journal: on Valkey 9, Redis 6.2, a cluster, and under sentinels."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import pytest

from coterie.ports import JournalStore
from coterie.stores.redis import RedisJournalStore, gate, open_redis_journal
from coterie.testing.journals import JournalStoreContract
from tests.fleet.journal.slow_sync import SLOWLY_SYNCED, SlowSync
from tests.support.redis_servers import SYNCED, Server, redis62, valkey, valkey_cluster, valkey_sentinels


class RedisContract(JournalStoreContract):
    """Each test has a namespace of its own, so that one server serves all. `server`: a fixture that gives the URL."""

    server: str
    durability: Literal["strict", "relaxed"] = "strict"

    @pytest.fixture
    async def store(self, request: pytest.FixtureRequest) -> AsyncIterator[RedisJournalStore]:
        self.url = request.getfixturevalue(self.server)
        store = open_redis_journal(self.url, uuid.uuid4().hex, durability=self.durability)
        yield store
        await store.aclose()

    async def another(self, store: JournalStore, *, namespace: str | None = None) -> JournalStore:
        # The server is shared: what a test calls "other" is another one in each.
        own = namespace is None or store.namespace in namespace
        name = namespace or store.namespace if own else f"{namespace}-{store.namespace}"
        return open_redis_journal(self.url, name, durability=self.durability)


@pytest.fixture(scope="module")
def old_protocol_url(synced_url: str) -> str:
    return f"{synced_url}?protocol=2"


@pytest.fixture(scope="module")
def redis62_url() -> Iterator[str]:
    with redis62(arguments=SYNCED) as server:
        yield server.url


@pytest.fixture(scope="module")
def forgetful_url() -> Iterator[str]:
    with valkey() as server:
        yield server.url


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with valkey_cluster(arguments=SYNCED) as cluster:
        yield cluster.url


@pytest.fixture(scope="module")
def sentinel_url() -> Iterator[str]:
    with valkey_sentinels(arguments=SYNCED) as sentinels:
        yield sentinels.url


class TestValkey(RedisContract):
    server = "synced_url"


class TestValkeyInTheOldProtocol(RedisContract):
    server = "old_protocol_url"


class TestRedis62(RedisContract):
    server = "redis62_url"


class TestRelaxed(RedisContract):
    server = "forgetful_url"
    durability = "relaxed"


class TestACluster(RedisContract):
    server = "cluster_url"


class TestSentinels(RedisContract):
    server = "sentinel_url"


class TestASlowlySyncedServer(RedisContract):
    """One that syncs "every second", where a second has 4 ms: every call waits for the next sync."""

    @pytest.fixture(scope="class")
    @staticmethod
    def slow_server() -> Iterator[Server]:
        with valkey(arguments=SLOWLY_SYNCED) as server:
            yield server

    @pytest.fixture
    async def store(self, slow_server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisJournalStore]:
        monkeypatch.setattr(gate, "NEARLY_A_SECOND", 3_000)
        monkeypatch.setattr(gate, "_ASK_AFTER_S", 0.003)
        monkeypatch.setattr(gate, "_GATHER_S", 0.0)
        async with SlowSync(slow_server, every_s=0.004) as slow:
            self.url = slow.url
            store = open_redis_journal(self.url, uuid.uuid4().hex)
            yield store
            await store.aclose()
