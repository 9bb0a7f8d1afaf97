"""A bus on every store that there is, and what it tells."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from coterie.bus import EventBus
from coterie.events import Event
from coterie.ports import LogStore
from coterie.stores.opening import open_log_store
from tests.support.redis_servers import valkey


@pytest.fixture(scope="session")
def bus_server() -> Iterator[str]:
    """One server for all: each test has a namespace of its own."""
    with valkey() as server:
        yield server.url


@pytest.fixture(params=["memory", "sqlite", "redis"])
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("bus_server"))
    return "memory://" if request.param == "memory" else f"sqlite://{tmp_path}/state.db"


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


@pytest.fixture
async def log(log_url: str, namespace: str) -> AsyncIterator[LogStore]:
    store = open_log_store(log_url, namespace)
    yield store
    await store.aclose()


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
async def bus(log: LogStore, heard: list[Event]) -> AsyncIterator[EventBus]:
    async with EventBus(log, on_event=heard.append) as bus:
        yield bus
