"""The Redis log keeps the contract of every log: on Valkey 9, Redis 6.2, a cluster, and under sentinels."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Literal

import pytest

from coterie.ports import LogStore
from coterie.stores.redis.log import RedisLogStore, open_redis_log
from coterie.testing.clock import ManualClock
from tests.fleet.bus.many_histories import ManyHistories


class RedisContract(ManyHistories):
    """Each test has a namespace of its own, so that one server serves all. `server`: a fixture that gives the URL."""

    server: str
    durability: Literal["strict", "relaxed"] = "relaxed"

    @pytest.fixture
    async def store(self, request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[RedisLogStore]:
        self.url = request.getfixturevalue(self.server)
        store = open_redis_log(self.url, uuid.uuid4().hex, durability=self.durability, clock=micros_of(clock))
        yield store
        await store.aclose()

    async def another(self, store: LogStore, clock: ManualClock, *, namespace: str | None = None) -> LogStore:
        # The server is shared: what a test calls "other" is another one in each.
        own = namespace is None or store.namespace in namespace
        name = namespace or store.namespace if own else f"{namespace}-{store.namespace}"
        return open_redis_log(self.url, name, durability=self.durability, clock=micros_of(clock))


def micros_of(clock: ManualClock) -> Callable[[], int]:
    return lambda: round(clock.now() * 1_000_000)


class TestValkey(RedisContract):
    server = "valkey_url"


class TestValkeyInTheOldProtocol(RedisContract):
    server = "old_protocol_url"


class TestRedis62(RedisContract):
    server = "redis62_url"


class TestStrict(RedisContract):
    server = "synced_url"
    durability = "strict"


class TestAnAclUserInAnotherDatabase(RedisContract):
    server = "third_database_url"


class TestACluster(RedisContract):
    server = "cluster_url"


class TestSentinels(RedisContract):
    server = "sentinel_url"
