"""Many processes share one SQLite store; some are killed in the middle of it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import pytest

from coterie._rules.decided import Decided, Signal, State
from coterie.errors import Unavailable
from coterie.stores.sqlite import SqliteStateStore
from tests.fleet.stores.sqlite_process import CALLERS, add

SCRIPT = Path(__file__).with_name("sqlite_process.py")


class Processes:
    """Starts processes on one database, and ends them."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.running: list[subprocess.Popen[str]] = []

    def start(self, what: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", str(SCRIPT), what, str(self.database)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def kill(self, process: subprocess.Popen[str]) -> list[str]:
        """Kill it; returns what it said that was not read yet."""
        process.send_signal(signal.SIGKILL)
        with process, out(process) as said:
            # Written by one call each, so that the last line is whole.
            return said.read().splitlines()


def out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path / "state.db")
    yield processes
    for process in processes.running:
        if process.returncode is None:
            processes.kill(process)


@pytest.fixture
async def store(processes: Processes) -> AsyncIterator[SqliteStateStore]:
    store = SqliteStateStore(processes.database, patience_s=20)
    yield store
    await store.aclose()


async def test_killed_processes_lose_nothing_that_was_acknowledged(processes: Processes, store: SqliteStateStore):
    acknowledged: list[int] = []
    counting = [processes.start("count") for _ in range(4)]
    for generation in range(6):
        for process in counting:
            acknowledged += [int(out(process).readline()) for _ in range(20)]
        oldest = counting.pop(0)
        acknowledged += map(int, processes.kill(oldest))
        if generation < 2:
            counting.append(processes.start("count"))
    for process in counting:
        acknowledged += map(int, processes.kill(process))

    state, _ = await store.read("limit/x")

    assert state is not None
    total = state["n"]
    assert isinstance(total, int)
    # Nobody was given a number twice, and only those who were being served when they were killed are missing.
    assert len(set(acknowledged)) == len(acknowledged) > 500
    assert max(acknowledged) <= total <= len(acknowledged) + CALLERS * len(processes.running)


async def test_a_process_that_is_killed_while_it_decides_leaves_no_lock(processes: Processes, store: SqliteStateStore):
    holding = processes.start("hold")
    assert out(holding).readline() == "holding\n"

    processes.kill(holding)

    assert await store.update("limit/x", add) == 1


async def test_a_process_that_hangs_makes_others_unavailable_and_lets_them_read(processes: Processes):
    impatient = SqliteStateStore(processes.database, patience_s=0.3)
    assert await impatient.update("limit/x", add) == 1
    holding = processes.start("hold")
    assert out(holding).readline() == "holding\n"
    holding.send_signal(signal.SIGSTOP)

    with pytest.raises(Unavailable, match="look for a process that holds it"):
        await impatient.update("limit/x", add)
    assert (await impatient.read("limit/x"))[0] == {"n": 1}
    processes.kill(holding)

    # What gave up did not happen afterwards.
    assert await impatient.update("limit/x", add) == 2
    await impatient.aclose()


async def test_a_waiter_in_another_process_is_woken(processes: Processes, store: SqliteStateStore):
    waiting = [processes.start("wait") for _ in range(2)]
    for process in waiting:
        assert out(process).readline() == "waiting\n"

    def decide(old: State | None, now: int) -> Decided[None]:
        return Decided(
            {"n": 1}, None, (Signal("pool/x", "one"), Signal("pool/y", "not theirs"), Signal("pool/x", "two"))
        )

    await store.update("pool/x", decide)

    for process in waiting:
        assert [out(process).readline() for _ in range(2)] == ["'one'\n", "'two'\n"]


async def test_a_killed_listener_is_forgotten_by_who_signals(processes: Processes, store: SqliteStateStore):
    waiting = processes.start("wait")
    assert out(waiting).readline() == "waiting\n"
    folder = processes.database.with_name("state.db.wake")
    assert [path for path in folder.rglob("*") if not path.is_dir()]
    processes.kill(waiting)

    await store.publish("pool/x", "anyone?")
    await store.read("pool/x")

    assert list(folder.iterdir()) == []


def test_a_fork_harms_neither_parent_nor_child(processes: Processes):
    parent = processes.start("fork")

    said, _ = parent.communicate(timeout=60)

    assert parent.returncode == 0
    assert said.splitlines() == [*["child ended with 0"] * 5, "{'n': 2050}", "told 'still here'"]
    assert check(processes.database) == "ok"


def check(database: Path) -> str:
    connection = sqlite3.connect(database)
    try:
        (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
        return str(answer)
    finally:
        connection.close()
