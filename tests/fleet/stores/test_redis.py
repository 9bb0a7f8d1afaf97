"""The Redis store keeps the contract of every store: on Valkey 9, Redis 6.2, a cluster, and under sentinels."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from coterie.ports import StateStore
from coterie.stores.redis import RedisStateStore, open_redis
from coterie.testing.states import StateStoreContract
from tests.support.redis_servers import valkey


class RedisContract(StateStoreContract):
    """Each test has a namespace of its own, so that one server serves all. `server`: a fixture that gives the URL."""

    server: str

    @pytest.fixture
    async def store(self, request: pytest.FixtureRequest) -> AsyncIterator[RedisStateStore]:
        self.url = request.getfixturevalue(self.server)
        store = open_redis(self.url, uuid.uuid4().hex)
        yield store
        await store.aclose()

    async def another(self, store: StateStore, *, namespace: str | None = None) -> StateStore:
        return open_redis(self.url, namespace or store.namespace)


@pytest.fixture(scope="module")
def unix_url() -> Iterator[str]:
    with valkey(user="fleet", unix=True) as server:
        yield server.unix_url


class TestValkey(RedisContract):
    server = "valkey_url"


class TestValkeyInTheOldProtocol(RedisContract):
    server = "old_protocol_url"


class TestRedis62(RedisContract):
    server = "redis62_url"


class TestAnAclUserOnAUnixSocket(RedisContract):
    server = "unix_url"


class TestAnAclUserInAnotherDatabase(RedisContract):
    server = "third_database_url"


class TestACluster(RedisContract):
    server = "cluster_url"


class TestSentinels(RedisContract):
    server = "sentinel_url"
