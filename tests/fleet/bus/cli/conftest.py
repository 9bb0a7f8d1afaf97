"""The stores that the command line is tried on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coterie.sync_bus import EventBus
from tests.fleet.bus.cli.commands import Command


@pytest.fixture(params=["sqlite", "redis"])
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("bus_server")) if request.param == "redis" else f"sqlite://{tmp_path}/state.db"


@pytest.fixture
def coterie(capsys: pytest.CaptureFixture[str], log_url: str, namespace: str) -> Command:
    return Command(capsys, log_url, namespace)


@pytest.fixture
def events(log_url: str, namespace: str) -> Iterator[EventBus]:
    with EventBus.open(log_url, namespace=namespace) as events:
        yield events
