"""A variable that is set, but empty, is not set: as where a deployment fills in what it does not have."""

from __future__ import annotations

import json
import os

import pytest

from coterie import Runtime, Task, Team
from coterie.artifacts.local_copies import default_folder
from coterie.stores.opening import open_state_store

EMPTY = (
    "COTERIE_STORE",
    "COTERIE_JOURNAL",
    "COTERIE_NAMESPACE",
    "COTERIE_ARTIFACTS",
    "COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S",
    "COTERIE_DEBUG",
)


@pytest.fixture(autouse=True)
def empty(folder, monkeypatch):
    for name in EMPTY:
        monkeypatch.setenv(name, "")


def test_a_run_is_recorded_at_the_place_of_this_machine(coterie, folder):
    done = coterie("run", "work:good", "-t", "work:team", "--run-id", "r1", "-q")
    shown = coterie("runs", "show", "r1", "--json")
    status = coterie("status", "--json")

    assert done.returncode in (0, 3), done.stderr
    assert json.loads(shown.stdout)["state"] in ("succeeded", "partial")
    assert (folder / "home" / "state.journal.db").exists()
    assert json.loads(status.stdout)["store"]["url"] == f"sqlite://{folder}/home/state.db"


async def test_a_runtime_finds_the_same_place(folder):
    team = Team("mine")

    @team.agent("split")
    async def split(task_input):
        return 1

    async with Runtime(team, journal=True) as runtime:
        result = await runtime.orchestrator.execute_task(Task("split", "split"), workflow_id="r1")

    assert result.state == "succeeded"
    assert runtime.namespace == "default"
    assert runtime.journal is not None
    assert runtime.journal.store.url == f"sqlite://{folder}/home/state.journal.db"


@pytest.mark.parametrize("given", [None, ""])
async def test_so_is_an_empty_url_that_is_given(folder, given):
    store = open_state_store(given, "default")
    await store.aclose()

    assert store.url == f"sqlite://{folder}/home/state.db"
    assert os.environ["COTERIE_STORE"] == ""


async def test_so_is_an_empty_home(folder, monkeypatch):
    monkeypatch.setenv("COTERIE_HOME", "")
    monkeypatch.setenv("XDG_STATE_HOME", f"{folder}/state")
    monkeypatch.setenv("XDG_CACHE_HOME", f"{folder}/cache")
    store = open_state_store(None, "default")
    await store.aclose()

    assert store.url == f"sqlite://{folder}/state/coterie/state.db"
    assert default_folder() == folder / "cache" / "coterie" / "content"
