"""A fleet on each kind of store that can be had here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fleet.breaker.world import Fleet, fleet_on
from tests.support.redis_servers import valkey


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with valkey() as server:
        yield server.url


@pytest.fixture(params=["memory", "sqlite", "valkey"])
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fleet]:
    url = request.getfixturevalue("valkey_url") if request.param == "valkey" else ""
    async with fleet_on(request.param, tmp_path, url) as fleet:
        yield fleet


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet_on("memory", tmp_path) as fleet:
        yield fleet
