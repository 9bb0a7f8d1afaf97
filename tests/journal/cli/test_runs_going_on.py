"""`coterie runs diff` and `resume`: a run that failed, is at work elsewhere, or whose process was killed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections import Counter

import pytest

WAIT_S = 60
TEAM = """
import asyncio
import os
from pathlib import Path

from coterie import ForEach, Plan, Task, Team

team = Team("desk")

def note(ctx):
    name = ctx.task_id if ctx.item_key is None else f"{ctx.task_id}/{ctx.item_key}"
    with Path("calls").open("a") as calls:
        calls.write(name + chr(10))

@team.agent("quick", version=os.environ.get("QUICK_VERSION", "1"))
async def quick(task_input, ctx):
    note(ctx)
    ctx.report_usage(input_tokens=1000, cost_micros=500000)
    if ctx.task_id in os.environ.get("FAILING", "").split():
        raise ConnectionError("the model does not answer")
    return ctx.task_id

@team.agent("slow")
async def slow(task_input, ctx):
    note(ctx)
    if Path("pipe").exists():
        with Path("pipe").open("w") as pipe:
            pipe.write("started")
            pipe.flush()
            await asyncio.sleep(1000)
    return ctx.task_id

plan = Plan("report", [
    Task("first", "quick"),
    Task("each", "quick", depends_on=["first"], foreach=ForEach(items=["a", "b"], key="")),
    Task("long", "slow", depends_on=["each"]),
    Task("last", "quick", depends_on=["long"]),
])
other = Plan("report", [Task("first", "quick"), Task("new", "quick", depends_on=["first"])])
"""


@pytest.fixture(autouse=True)
def clean(folder, monkeypatch):
    (folder / "desk.py").write_text(TEAM)
    for name in ("COTERIE_STORE", "COTERIE_NAMESPACE", "COTERIE_JOURNAL", "FAILING", "QUICK_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S", "0")


@pytest.fixture
def calls(folder):
    """Whom the agents worked for since this was asked the last time."""

    def found() -> dict[str, int]:
        path = folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return dict(Counter(lines))

    return found


@pytest.fixture
def seen(coterie):
    def read(*argv: str, code: int = 0):
        done = coterie(*argv, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    return read


@pytest.fixture
def begun(start, folder):
    """A run `r1` in another process, whose task `long` is at work; it never ends by itself."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    process = start("run", "desk:plan", "-t", "desk:team", "--run-id", "r1", "-q")
    ready, _, _ = select.select([descriptor], [], [], WAIT_S)
    assert ready, "the task did not begin in time"
    assert os.read(descriptor, 100) == b"started"
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=WAIT_S)
    os.close(descriptor)


def would(document) -> dict[str, tuple[str, str | None]]:
    return {task["id"]: (task["would"], task["why"]) for task in document["tasks"]}


def failed_run(coterie, monkeypatch) -> None:
    monkeypatch.setenv("FAILING", "last")
    assert coterie("run", "desk:plan", "-t", "desk:team", "--run-id", "r1", "-q").returncode == 1
    monkeypatch.delenv("FAILING")


def test_what_failed_is_tried_again_and_what_is_finished_is_not(coterie, seen, calls, monkeypatch):
    failed_run(coterie, monkeypatch)
    calls()

    told = seen("runs", "diff", "r1")
    foreseen_calls = calls()
    resumed = coterie("runs", "resume", "r1")

    assert would(told) == {
        "first": ("replays", None),
        "each": ("replays", None),
        "long": ("replays", None),
        "last": ("runs", "goes_on"),
    }
    assert told["usage"]["runs"]["input_tokens"] == 1000
    assert told["usage"]["replays"]["input_tokens"] == 3000
    assert foreseen_calls == {}
    assert resumed.returncode == 0
    assert calls() == {"last": 1}
    assert [line.partition("] ")[2] for line in resumed.stderr.splitlines() if "replayed" in line] == [
        "first: replayed, succeeded",
        "each: replayed, succeeded 2/2 items",
        "long: replayed, succeeded",
    ]


def test_people_are_told_what_it_would_take(coterie, monkeypatch):
    failed_run(coterie, monkeypatch)

    text = "\n".join(" ".join(line.split()) for line in coterie("runs", "diff", "r1").stdout.splitlines())

    assert "last runs failed" in text
    assert "1,000 tokens, 0.50; may run: up to 0.0 s of work more" in text
    assert "3,000 tokens, 1.50" in text.splitlines()[-1]


def test_a_new_version_of_an_agent_runs_anew_and_what_follows_may(coterie, seen, calls, monkeypatch):
    failed_run(coterie, monkeypatch)
    monkeypatch.setenv("QUICK_VERSION", "2")
    calls()

    told = seen("runs", "diff", "r1")
    resumed = seen("runs", "resume", "r1")

    assert would(told) == {
        "first": ("runs", "changed"),
        "each": ("may_run", None),
        "long": ("may_run", None),
        "last": ("may_run", "goes_on"),
    }
    assert told["tasks"][1]["after"] == ["first"]
    assert resumed["status"] == "succeeded"
    # The items' outputs are what they were, so what comes after them stops there.
    assert calls() == {"first": 1, "each/a": 1, "each/b": 1, "last": 1}


def test_a_run_goes_on_with_another_plan_only_if_that_is_given(coterie, seen, calls, monkeypatch):
    failed_run(coterie, monkeypatch)
    calls()

    told = seen("runs", "diff", "r1", "--plan", "desk:other")
    resumed = seen("runs", "resume", "r1", "--plan", "desk:other")

    assert would(told) == {"first": ("replays", None), "new": ("runs", "first")}
    assert resumed["status"] == "succeeded"
    assert calls() == {"new": 1}


def test_by_force_all_is_done_anew_once_for_each_name(seen, calls, coterie):
    assert coterie("run", "desk:plan", "-t", "desk:team", "--run-id", "r1", "-q").returncode == 0
    everything = calls()

    forced = [seen("runs", "resume", "r1", "--force", name) and calls() for name in ("one", "one", "two")]

    assert forced == [everything, {}, everything]


def test_a_run_at_work_in_another_process_is_running_and_nobody_else_s(begun, coterie, seen, calls):
    shown = seen("runs", "show", "r1")
    listed = seen("runs")["runs"]
    refused = coterie("runs", "resume", "r1", "-q")
    told = coterie("runs", "diff", "r1")
    reaped = seen("reap", "--idle", "0s")
    pruned = seen("runs", "prune", "--older-than", "0s")
    not_erased = coterie("runs", "erase", "r1")

    assert shown["state"] == listed[0]["state"] == "running"
    assert shown["claim"]["alive"]
    assert f"process {begun.pid} on " in shown["claim"]["owner"]
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: process {begun.pid} on ")
    assert "is at work on the run 'r1'" in refused.stderr
    assert f"process {begun.pid} on " in told.stdout
    assert reaped["runs"] == pruned["runs"] == []
    assert not_erased.returncode == 1
    assert f"process {begun.pid} on " in not_erased.stderr
    assert "end it first" in not_erased.stderr
    assert begun.poll() is None
    assert calls() == {"first": 1, "each/a": 1, "each/b": 1, "long": 1}


def test_a_run_whose_process_was_killed_is_interrupted_and_goes_on_where_it_was(begun, seen, calls, folder):
    begun.kill()
    begun.wait(WAIT_S)
    (folder / "pipe").unlink()
    calls()

    shown, told = seen("runs", "show", "r1"), seen("runs", "diff", "r1")
    resumed = seen("runs", "resume", "r1")

    assert shown["state"] == "interrupted"
    assert not shown["claim"]["alive"]
    assert [task["would"] for task in told["tasks"]] == ["replays", "replays", "runs", "may_run"]
    assert resumed["status"] == "succeeded"
    assert calls() == {"long": 1, "last": 1}
    assert seen("runs", "show", "r1")["state"] == "succeeded"


def test_a_killed_run_is_ended_as_lost_and_still_goes_on(begun, coterie, seen, calls, folder):
    begun.kill()
    begun.wait(WAIT_S)
    (folder / "pipe").unlink()
    calls()

    would_be = seen("reap", "--idle", "0s", "--dry-run")
    reaped = seen("reap", "--idle", "0s")
    state = seen("runs")["runs"][0]["state"]

    assert would_be == {"runs": ["r1"], "dry_run": True}
    assert reaped == {"runs": ["r1"], "dry_run": False}
    assert state == "lost"
    assert seen("runs", "resume", "r1")["status"] == "succeeded"
    assert calls() == {"long": 1, "last": 1}


def test_an_interrupted_run_is_cancelled_and_goes_on(begun, seen, calls, folder):
    begun.send_signal(signal.SIGTERM)
    begun.communicate(timeout=WAIT_S)
    (folder / "pipe").unlink()
    calls()

    assert begun.returncode == 130
    assert seen("runs", "show", "r1")["state"] == "cancelled"
    assert seen("runs", "resume", "r1")["status"] == "succeeded"
    assert calls() == {"long": 1, "last": 1}
    assert seen("runs", "erase", "r1")["erased"]


def test_people_are_told_why_what_failed_runs_behind_what_was_forgotten(coterie, monkeypatch):
    failed_run(coterie, monkeypatch)
    coterie("runs", "forget", "r1", "long")

    text = "\n".join(" ".join(line.split()) for line in coterie("runs", "diff", "r1").stdout.splitlines())

    assert "long runs was to be forgotten" in text
    assert "last may run failed; depends on how long ends" in text


def test_a_team_that_is_gone_is_named_by_the_refusal_and_another_can_be_given(coterie, seen, monkeypatch, folder):
    failed_run(coterie, monkeypatch)
    (folder / "moved.py").write_text((folder / "desk.py").read_text())
    (folder / "desk.py").unlink()

    for command in ("diff", "resume"):
        refused = coterie("runs", command, "r1")
        assert refused.returncode == 2
        assert "desk" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert seen("runs", "resume", "r1", "--team", "moved:team")["status"] == "succeeded"


def test_a_plan_or_team_that_the_journal_does_not_have_must_be_named(coterie, folder):
    (folder / "library.py").write_text(
        "import asyncio\n"
        "from coterie import Orchestrator, Runtime, Task, Team\n"
        "team = Team('mine')\n"
        "async def work(task_input): return 1\n"
        "team.agent('quick')(work)\n"
        "async def run():\n"
        "    async with Runtime(team, journal=True) as runtime:\n"
        "        await runtime.orchestrator.execute_task(Task('first', 'quick'), workflow_id='r1')\n"
        "if __name__ == '__main__': asyncio.run(run())\n"
    )
    subprocess.run([sys.executable, "library.py"], cwd=folder, check=True)

    without_team = coterie("runs", "resume", "r1")
    without_plan = coterie("runs", "resume", "r1", "--team", "desk:team")

    assert without_team.returncode == without_plan.returncode == 2
    assert "error: the journal does not say whose team did 'r1'; name it with --team" in without_team.stderr
    assert "error: the journal has no plan of 'r1'; name it with --plan" in without_plan.stderr


def test_a_plan_that_lies_in_a_store_that_has_it_not_is_missed(coterie, folder):
    coterie("run", "work:made", "-t", "work:team", "-p", "count=40", "--run-id", "r1", "-q")

    for command in ("diff", "resume"):
        refused = coterie("runs", command, "r1", "--artifacts", str(folder / "elsewhere"))
        assert refused.returncode == 1
        assert refused.stderr.startswith("error: ")
        assert "elsewhere" in refused.stderr or "artifacts" in refused.stderr
        assert "Traceback" not in refused.stderr
