"""A run whose process is killed and that goes on: what its timeline says before and after."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 60.0
DESK = """
from pathlib import Path

from coterie import Plan, Task, Team

team = Team("desk")

@team.agent("work")
def work(task_input, ctx):
    pipe = Path("pipe")
    if ctx.task_id == "long" and pipe.exists():
        with pipe.open("w") as stream:
            stream.write("started")
        import time
        time.sleep(600)
    return ctx.task_id

plan = Plan("desk", [
    Task("first", "work"), Task("long", "work", depends_on=["first"]), Task("last", "work", depends_on=["long"]),
])
"""


@pytest.fixture(autouse=True)
def clean(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COTERIE_STORE", "COTERIE_NAMESPACE", "COTERIE_JOURNAL"):
        monkeypatch.delenv(name, raising=False)
    (folder / "desk.py").write_text(DESK)


def test_a_killed_run_is_left_by_everybody_and_goes_on_where_it_was(
    coterie: Callable[..., Any], start: Callable[..., Any], folder: Path
):
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with start("run", "desk:plan", "-t", "desk:team", "--run-id", "r1", "-q") as process:
        assert select.select([descriptor], [], [], WAIT_S)[0], "the task did not begin in time"
        at_work = seen(coterie)
        process.kill()
    os.close(descriptor)
    killed = seen(coterie)
    pipe.unlink()
    assert coterie("runs", "resume", "r1", "-q").returncode == 0
    resumed = seen(coterie)

    assert (at_work["run"]["state"], [one["span"] for one in at_work["now"]]) == ("running", ["task/long"])
    assert f"process {process.pid} on" in span_of(at_work, "run")["facts"]["owner"]
    assert (killed["run"]["state"], killed["now"], killed["path"][-1]["kind"]) == ("interrupted", [], "nobody")
    assert [(one["task"], one["for"]) for one in killed["ahead"]] == [("long", []), ("last", ["long"])]
    assert (resumed["run"]["state"], resumed["ahead"]) == ("succeeded", [])
    assert span_of(resumed, "task/first") == span_of(killed, "task/first")
    assert resumed["critical"] == ["run", "task/first", "task/long", "task/last"]
    # Between the two processes it could have gone on: so it is told while it lies there, and so it is told afterwards.
    assert {"span": "task/long", "kind": "nobody"}.items() <= next(
        p for p in resumed["path"] if p["span"] == "task/long"
    ).items()


def seen(coterie: Callable[..., Any]) -> dict[str, Any]:
    """The document of the run, as the command writes it."""
    done = coterie("trace", "show", "r1", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def span_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(span for span in document["spans"] if span["id"] == name)
