"""Real servers that the contracts of stores and logs run on, by their URLs; each file has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis_servers import SYNCED, redis62, valkey, valkey_cluster, valkey_sentinels


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    with valkey() as server:
        yield server.url


@pytest.fixture(scope="module")
def old_protocol_url(valkey_url: str) -> str:
    return f"{valkey_url}?protocol=2"


@pytest.fixture(scope="module")
def redis62_url() -> Iterator[str]:
    with redis62() as server:
        yield server.url


@pytest.fixture(scope="module")
def synced_url() -> Iterator[str]:
    """It has on disk what it acknowledges."""
    with valkey(arguments=SYNCED) as server:
        yield server.url


@pytest.fixture(scope="module")
def third_database_url() -> Iterator[str]:
    with valkey(user="fleet") as server:
        yield server.url.removesuffix("0") + "3"


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with valkey_cluster() as cluster:
        yield cluster.url


@pytest.fixture(scope="module")
def sentinel_url() -> Iterator[str]:
    with valkey_sentinels() as sentinels:
        yield sentinels.url
