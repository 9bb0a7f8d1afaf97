"""Fleets to look at: a state database in a folder, and a real Valkey that wants a password."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from coterie.cli.app import app
from tests.fleet.cli.deployment import at, examined, synced
from tests.fleet.cli.places import PASSWORD, TEAM, Place
from tests.support.command_line import coterie, folder, start
from tests.support.redis_servers import Server, valkey

__all__ = ["at", "coterie", "examined", "folder", "start", "synced"]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with valkey(user="fleet", password=PASSWORD) as running:
        yield running


@pytest.fixture(params=["sqlite", "valkey"])
def place(request, folder, monkeypatch) -> Place:
    """A fleet's store, named by the environment, and a team to name."""
    (folder / "fleetteam.py").write_text(TEAM)
    url = f"sqlite://{folder}/state.db" if request.param == "sqlite" else request.getfixturevalue("server").url
    namespace = f"test-{os.urandom(6).hex()}"
    monkeypatch.setenv("COTERIE_STORE", url)
    monkeypatch.setenv("COTERIE_NAMESPACE", namespace)
    return Place(url, namespace, time.time_ns() // 1000)


@pytest.fixture
def invoke(folder) -> Callable[..., Result]:
    """Run a command in this process. Whatever it is, it shows neither a traceback nor a password."""

    def run(*argv: str) -> Result:
        done = CliRunner().invoke(app, list(argv), prog_name="coterie")
        assert "Traceback" not in done.output
        assert "error: unexpected" not in done.stderr
        assert PASSWORD not in done.output
        return done

    return run


@pytest.fixture
def seen(invoke) -> Callable[..., Any]:
    """The JSON document that a command writes."""

    def read(*argv: str) -> Any:
        done = invoke(*argv, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return read


@pytest.fixture
def shown(invoke) -> Callable[..., str]:
    """What a command shows people, one blank for several."""

    def read(*argv: str) -> str:
        done = invoke(*argv)
        assert done.exit_code == 0, done.output
        return "\n".join(" ".join(line.split()) for line in done.stdout.splitlines())

    return read
