"""Redis stores opened for a test and closed after it, and servers for those that fail."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from coterie.stores.redis import RedisPolicy, RedisStateStore, open_redis
from tests.fleet.stores.redis_waiting import all_closed
from tests.fleet.twins.counting import twins
from tests.support.redis_servers import Server, valkey


@pytest.fixture
def policy() -> RedisPolicy:
    """Short, so that tests of silence are; a loop that is held up for so long is none of their subjects."""
    return RedisPolicy(
        connect_timeout_s=0.5, op_timeout_s=0.5, update_timeout_s=1.0, ping_every_s=0.1, close_timeout_s=0.2
    )


@pytest.fixture
async def opened(policy: RedisPolicy) -> AsyncIterator[Callable[..., RedisStateStore]]:
    """Opens stores, with the counting operation's twin, and closes them."""
    async with all_closed() as stores:

        def open_one(url: str, *, namespace: str | None = None) -> RedisStateStore:
            stores.append(store := open_redis(url, namespace or uuid.uuid4().hex, policy=policy, twins=twins))
            return store

        yield open_one


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with valkey() as server:
        yield server


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that the test may harm."""
    with valkey() as running:
        yield running
