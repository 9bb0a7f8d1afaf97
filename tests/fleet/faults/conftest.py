"""One server for the tests of a file, and the weather before it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from coterie.stores.redis import RedisStateStore
from tests.fleet.faults.skewed import KEEPING, SkewedServer, skewed_valkey
from tests.fleet.faults.weather import PATIENCE_S, Weather
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkewedServer]:
    """Its clock can be set in the modules that are marked `compiler`."""
    skews = request.node.get_closest_marker("compiler") is not None
    with skewed_valkey(tmp_path_factory.mktemp("valkey"), arguments=KEEPING, skews=skews) as running:
        yield running


@pytest.fixture
async def weather(server: SkewedServer) -> AsyncIterator[Weather]:
    server.skew_s = 0.0
    async with TcpProxy(server.port) as proxy:
        yield Weather(server, proxy)


@pytest.fixture
async def opened(weather: Weather) -> AsyncIterator[Callable[[], RedisStateStore]]:
    """Opens stores that share their state with each other, and with no other test."""
    namespace, stores = uuid.uuid4().hex, []

    def open_one() -> RedisStateStore:
        stores.append(weather.open(namespace))
        return stores[-1]

    yield open_one
    for store in stores:
        async with asyncio.timeout(PATIENCE_S):
            await store.aclose()
