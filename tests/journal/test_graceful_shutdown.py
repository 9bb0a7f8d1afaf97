"""SIGTERM to a real process: what is at work may finish and is recorded, the rest goes back to whoever asks next."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.command_line import coterie, folder, start

__all__ = ["coterie", "folder", "start"]

WAIT_S = 30
TEAM = """
import asyncio
from pathlib import Path

from coterie import Command, Compensation, Plan, Policies, PoolPolicy, Spend, Task, Team

purse = Spend(name="purse", limit=1000, per_call=100)
team = Team("desk", policies={"pooled": Policies(pool=PoolPolicy(), budgets=[purse])})
PIPE = "exec 9>pipe; echo started >&9; sleep 1000 & wait"

def note(ctx):
    with Path("calls").open("a") as calls:
        calls.write(ctx.task_id + chr(10))

async def told(ctx):
    note(ctx)
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    return ctx.task_id

@team.agent("ending")
async def ending(task_input, ctx):
    return await told(ctx)

@team.agent("pooled")
async def pooled(task_input, ctx):
    return await told(ctx)

@team.agent("quick")
async def quick(task_input, ctx):
    note(ctx)

@team.agent("nursing")
async def nurse(task_input, ctx):
    note(ctx)
    if Path("pipe").exists():
        return await Command(["sh", "-c", PIPE])(task_input)

@team.agent("failing")
async def fail(task_input):
    raise RuntimeError("on purpose")

made = {"compensation": Compensation("ending")}
undone = Plan("undone", [
    Task("first", "quick", **made), Task("second", "quick", depends_on=["first"], **made),
    Task("third", "failing", depends_on=["second"]),
])
plan = Plan("both", [
    Task("ends", "ending"), Task("next", "quick", depends_on=["ends"]),
    Task("stays", "nursing"), Task("last", "quick", depends_on=["stays"]),
])
short = Plan("short", [Task("ends", "ending")])
shared = Plan("shared", [Task("ends", "pooled")])
"""
MACHINE = """
name: paying
initial: pay
states:
  - {name: pay, action: {agent_type: ending}, transitions: [{to: asks}]}
  - {name: asks, transitions: [{to: done, trigger: approve}]}
  - {name: done, final: succeeded}
"""


@pytest.fixture(autouse=True)
def clean(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "desk.py").write_text(TEAM)
    names = ("COTERIE_STORE", "COTERIE_NAMESPACE", "COTERIE_JOURNAL", "COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S")
    for name in names:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def calls(folder: Path):
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
def process_of(start):
    """Start a command about the run `r1`, in another process."""
    processes = []

    def run(*argv: str) -> subprocess.Popen[str]:
        process = start(*argv, "--team", "desk:team", "--run-id", "r1")
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=WAIT_S)


@pytest.fixture
def begun(process_of):
    """Start a plan."""
    return lambda plan, *options: process_of("run", f"desk:{plan}", *options)


@pytest.fixture
def pipe(folder: Path):
    """Held open by a child of the agent `nursing`."""
    os.mkfifo(folder / "pipe")
    descriptor = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def read(descriptor: int) -> bytes:
    ready, _, _ = select.select([descriptor], [], [], WAIT_S)
    assert ready, "no child wrote or ended in time"
    return os.read(descriptor, 100)


def held(seen) -> dict[str, int]:
    """What calls hold of what a fleet shares."""
    (pool,), (budget,) = seen("pool", "list")["pools"], seen("budgets", "list", "--holds")["budgets"]
    return {"slots": len(pool["agents"][0]["tokens"]), "tokens": sum(one["amount"] for one in budget["living_holds"])}


def until(process: subprocess.Popen[str], words: str) -> str:
    """Read standard error until a line has the words; all that was read."""
    text = ""
    assert process.stderr is not None
    while words not in text:
        line = process.stderr.readline()
        assert line, text
        text += line
    return text


def test_what_ends_in_time_is_recorded_and_what_does_not_is_cancelled_by_a_second_signal(
    begun, pipe, folder, calls, seen
):
    process = begun("plan", "--graceful-shutdown-timeout", "600")
    assert read(pipe) == b"started\n"
    until(process, "ends: started")

    process.send_signal(signal.SIGTERM)
    stopping = until(process, "stopping")
    (folder / "go").touch()
    until(process, "ends: succeeded")
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=WAIT_S)
    paid = calls()
    (folder / "pipe").unlink()
    shown = seen("runs", "show", "r1")
    resumed = seen("runs", "resume", "r1")

    assert "those at work have 600 s to finish" in stopping
    assert "cancelling" in stderr
    assert process.returncode == 130
    assert "cancelled: 1 of 4 tasks succeeded" in stdout
    assert read(pipe) == b"", "its child has ended"
    assert paid == {"ends": 1, "stays": 1}
    assert (shown["state"], shown["claim"]) == ("cancelled", None), "handed back, not only left by one who is dead"
    assert resumed["status"] == "succeeded"
    assert calls() == {"next": 1, "stays": 1, "last": 1}


def test_when_the_time_is_over_the_rest_is_cancelled(begun, pipe, folder, calls, seen):
    process = begun("plan", "--graceful-shutdown-timeout", "0.1")
    assert read(pipe) == b"started\n"
    until(process, "ends: started")

    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=WAIT_S)
    (folder / "pipe").unlink()
    (folder / "go").touch()
    calls()

    assert process.returncode == 130
    assert "cancelled: 0 of 4 tasks succeeded" in stdout
    assert read(pipe) == b""
    assert seen("runs", "show", "r1")["claim"] is None
    assert seen("runs", "resume", "r1")["status"] == "succeeded"
    assert calls() == {"ends": 1, "next": 1, "stays": 1, "last": 1}


def test_a_run_that_ends_in_time_succeeds(begun, folder, seen):
    process = begun("short", "--graceful-shutdown-timeout", "600")
    until(process, "ends: started")

    process.send_signal(signal.SIGTERM)
    until(process, "stopping")
    (folder / "go").touch()
    stdout, _ = process.communicate(timeout=WAIT_S)

    assert process.returncode == 0
    assert "succeeded" in stdout
    assert seen("runs", "show", "r1")["state"] == "succeeded"


def test_ctrl_c_has_no_patience(begun, calls):
    process = begun("short", "--graceful-shutdown-timeout", "600")
    until(process, "ends: started")

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=WAIT_S)

    assert process.returncode == 130
    assert "cancelling" in stderr
    assert "stopping" not in stderr


def test_what_the_fleet_shares_is_handed_back(begun, folder, seen, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", f"sqlite://{folder}/state.db")
    monkeypatch.setenv("COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S", "0.1")
    process = begun("shared")
    until(process, "ends: started")
    holding = held(seen)

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=WAIT_S)

    assert process.returncode == 130
    assert holding == {"slots": 1, "tokens": 100}
    assert held(seen) == {"slots": 0, "tokens": 0}


def until_called(folder: Path, times: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while not (folder / "calls").exists() or len((folder / "calls").read_text().splitlines()) < times:
        assert time.monotonic() < deadline, "no agent was called in time"
        time.sleep(0.02)


def test_of_a_run_that_is_undone_what_is_at_work_finishes_and_the_rest_is_undone_later(begun, folder, calls, seen):
    process = begun("undone", "--graceful-shutdown-timeout", "600")
    until_called(folder, 3)

    process.send_signal(signal.SIGTERM)
    until(process, "stopping")
    (folder / "go").touch()
    process.communicate(timeout=WAIT_S)
    before = calls()
    left = seen("runs", "show", "r1")
    resumed = seen("runs", "resume", "r1", code=1)

    assert process.returncode == 130
    assert before == {"first": 1, "second": 1, "undo-second": 1}
    assert (left["state"], left["claim"]) == ("interrupted", None)
    assert resumed["saga"]["outcome"] == "compensated"
    assert calls() == {"undo-first": 1}


def test_a_machine_s_action_finishes_and_the_machine_stays_where_it_then_is(process_of, folder, calls, seen):
    (folder / "paying.yaml").write_text(MACHINE)
    process = process_of("machine", "run", "paying.yaml", "--graceful-shutdown-timeout", "600")
    until_called(folder, 1)

    process.send_signal(signal.SIGTERM)
    until(process, "stopping")
    (folder / "go").touch()
    process.communicate(timeout=WAIT_S)
    status = seen("machine", "show", "r1")

    assert process.returncode == 130
    assert (status["state"], status["phase"]) == ("asks", "waiting")
    assert sum(calls().values()) == 1
