"""A fleet of processes on each store that processes share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.stampede.fleet import Fleet, chosen_seed
from tests.support.redis_servers import valkey


@pytest.fixture(scope="module", params=["sqlite", "valkey"])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder: Path = tmp_path_factory.mktemp("stampede")
    if request.param == "sqlite":
        yield from _fleet(f"sqlite://{folder}/state.db", f"{folder}/log.db", folder)
        return
    with valkey() as server:
        yield from _fleet(server.url, f"{server.url}#log-{uuid.uuid4().hex[:8]}", folder)


def _fleet(url: str, journal: str, folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(url, journal, folder)
    try:
        yield fleet
    finally:
        fleet.close()


@pytest.fixture
def fleet(processes: Fleet) -> Fleet:
    """The processes serve all tests of a module; each test takes breakers of its own."""
    processes.mend()
    return processes


@pytest.fixture
def seed() -> int:
    """COTERIE_STAMPEDE_SEED repeats a run's choices (not the machine's timing)."""
    seed = chosen_seed()
    print(f"COTERIE_STAMPEDE_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return seed
