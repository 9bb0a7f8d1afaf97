"""A deployment in which nothing is wrong, and what `coterie doctor` says of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from tests.fleet.cli.places import PASSWORD, Place
from tests.support.redis_servers import SYNCED, Server, valkey

__all__ = ["at", "examined", "only", "synced"]

REMOTE = """
from coterie import Policies, Team
from coterie.breaker import BreakerPolicy
team = Team("afar")
team.remote("faraway")
broken = Team("broken")
broken.protect("nobody", Policies(breaker=BreakerPolicy()))
"""


@pytest.fixture(scope="module")
def synced() -> Iterator[Server]:
    """A server that syncs what it is told, and wants a password."""
    with valkey(user="fleet", password=PASSWORD, arguments=SYNCED) as running:
        with running.client() as client:
            client.execute_command("ACL", "SETUSER", "fleet", "+config|get")
        yield running


@pytest.fixture
def at(synced, folder, monkeypatch) -> Place:
    """A healthy deployment: a fleet's store, artifacts that are shared, and nothing else in the environment."""
    for name in [name for name in os.environ if name.startswith("COTERIE_")]:
        monkeypatch.delenv(name)
    namespace = f"test-{os.urandom(6).hex()}"
    (folder / "shared").mkdir()
    monkeypatch.setenv("COTERIE_HOME", f"{folder}/home")
    monkeypatch.setenv("COTERIE_STORE", synced.url)
    monkeypatch.setenv("COTERIE_NAMESPACE", namespace)
    (folder / "remoteteam.py").write_text(REMOTE)
    return Place(synced.url, namespace, time.time_ns() // 1000)


@pytest.fixture
def examined(invoke, folder):
    """Every finding that is not fine, by its check, and the exit code."""

    def run(*argv: str, code: int | None = None) -> dict[str, list[dict]]:
        done = invoke("doctor", "--artifacts", f"{folder}/shared", *argv, "--json")
        assert code is None or done.exit_code == code, done.output
        found: dict[str, list[dict]] = {}
        for each in json.loads(done.stdout)["checks"]:
            if each["state"] in ("warning", "fault"):
                assert each["remedy"], each
                found.setdefault(each["check"], []).append(each)
        return found

    return run


def only(found: dict[str, list[dict]], check: str, state: str) -> dict:
    """The one thing that is wrong, but for what the settings say of local artifacts."""
    others = {name: each for name, each in found.items() if name not in (check, "variables")}
    assert others == {}
    (finding,) = found[check]
    assert finding["state"] == state
    return finding
