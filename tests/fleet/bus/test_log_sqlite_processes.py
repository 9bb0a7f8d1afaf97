"""Many processes share one SQLite log; some are killed in the middle of it, and nothing acknowledged is lost."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import pytest

from coterie.stores.log_sqlite import SqliteLogStore
from coterie.testing.log_handles import drain, group_of, ids, positions, read_all, take
from tests.fleet.bus.log_sqlite_process import KEEP, TERMS, TOPIC, made

PATIENCE_S = 60.0
SCRIPT = Path(__file__).with_name("log_sqlite_process.py")


class Processes:
    """Starts processes on one database, and ends them."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.running: list[subprocess.Popen[str]] = []
        self.timers: list[threading.Timer] = []

    def start(self, *what: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", str(SCRIPT), what[0], str(self.database), *what[1:]],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        # Who waits for a line that never comes is told by the end of the process.
        timer = threading.Timer(PATIENCE_S, process.kill)
        timer.daemon = True
        timer.start()
        self.timers.append(timer)
        return process

    def kill(self, process: subprocess.Popen[str]) -> list[str]:
        """Kill it; returns what it said that was not read yet."""
        process.send_signal(signal.SIGKILL)
        with process, out(process) as said:
            # Written by one call each, so that the last line is whole.
            return said.read().splitlines()


class Ahead:
    """The clock of the machine, so many seconds later."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return time.time() + self._seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._seconds


def out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def check(database: Path) -> str:
    """ "ok", or what SQLite finds wrong."""
    connection = sqlite3.connect(database)
    try:
        return "; ".join(str(line) for (line,) in connection.execute("PRAGMA integrity_check"))
    finally:
        connection.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path / "state.events.db")
    yield processes
    for timer in processes.timers:
        timer.cancel()
    for process in processes.running:
        if process.returncode is None:
            processes.kill(process)


@pytest.fixture
async def store(processes: Processes) -> AsyncIterator[SqliteLogStore]:
    store = SqliteLogStore(processes.database, patience_s=30)
    yield store
    await store.aclose()


async def test_producers_that_are_killed_lose_nothing_that_was_acknowledged(
    processes: Processes, store: SqliteLogStore
):
    acknowledged: list[str] = []
    appending = [processes.start("append", f"p{number}") for number in range(3)]
    for generation in range(8):
        for process in appending:
            for _ in range(5):
                acknowledged += out(process).readline().split()
        for line in processes.kill(appending.pop(0)):
            acknowledged += line.split()
        appending.append(processes.start("append", f"p{generation + 3}"))
    for process in appending:
        for line in processes.kill(process):
            acknowledged += line.split()

    kept = await read_all(store)

    assert len(acknowledged) > 300
    assert len(kept) == len(set(kept))
    assert set(acknowledged) <= set(kept)
    by_producer: dict[str, list[str]] = defaultdict(list)
    for name in kept:
        by_producer[name.partition(":")[0]].append(name)
    for theirs in by_producer.values():
        assert theirs == sorted(theirs)
        # All or none of each call.
        assert len(theirs) % 5 == 0
    (topic,) = await store.topics()
    assert (topic.messages, topic.appended) == (len(kept), len(kept))
    assert check(processes.database) == "ok"


async def test_consumers_that_are_killed_lose_nothing_and_keep_the_order_of_keys(
    processes: Processes, store: SqliteLogStore
):
    asked = [message for number in range(60) for key in "abcdefgh" for message in made(key, number, 1)]
    await store.append(TOPIC, asked, retention=KEEP)
    events: list[str] = []
    working = {f"w{number}": processes.start("work", f"w{number}") for number in range(3)}
    for generation in range(8):
        for process in working.values():
            events += [out(process).readline().strip() for _ in range(6)]
        name = next(iter(working))
        events += processes.kill(working.pop(name))
        await store.leave(TOPIC, "group", name, died=True)
        working[f"w{generation + 3}"] = processes.start("work", f"w{generation + 3}")
    for name, process in working.items():
        events += processes.kill(process)
        await store.leave(TOPIC, "group", name, died=True)

    rest = await drain(store, "last", terms=TERMS)

    # Without those that were killed between the acknowledgement and their saying so.
    done = [event.removeprefix("done ") for event in events if event.startswith("done ")]
    taken = {event.removeprefix("took ") for event in events if event.startswith("took ")}
    assert len(done) == len(set(done)) > 50
    assert set(done).isdisjoint(rest)
    assert taken | set(rest) == {message.id for message in asked}
    for key in "abcdefgh":
        theirs = [name for name in rest if name.startswith(key)]
        assert theirs == sorted(theirs)
        assert all(name < theirs[0] for name in done if theirs and name.startswith(key))
    assert (await group_of(store)).held == 0
    assert check(processes.database) == "ok"


async def test_what_a_killed_consumer_held_goes_to_others_when_its_lease_has_ended(
    processes: Processes, store: SqliteLogStore
):
    asked = [*made("a", 0), *made("b", 0)]
    await store.append(TOPIC, asked, retention=KEEP)
    holding = processes.start("hold", "holder")
    held = out(holding).readline().split()
    processes.kill(holding)
    assert held == ["a:000000", "b:000000"]
    assert ids(await take(store, "other", terms=TERMS)) == []
    late = SqliteLogStore(processes.database, clock=Ahead(60))

    taken = await take(late, "other", terms=TERMS)

    assert ids(taken) == held
    assert [delivery.number for delivery in taken.deliveries] == [2, 2]
    assert {failure.consumer for delivery in taken.deliveries for failure in delivery.failures} == {"holder"}
    assert await drain(late, "other", terms=TERMS) == []
    await store.acknowledge(TOPIC, "group", "other", positions(taken))
    rest = await drain(store, "other", terms=TERMS)
    assert sorted(rest) == [message.id for message in asked if message.id not in held]
    await late.aclose()


async def test_what_a_killed_consumer_held_goes_to_others_at_once_where_somebody_says_so(
    processes: Processes, store: SqliteLogStore
):
    await store.append(TOPIC, made("a", 0), retention=KEEP)
    holding = processes.start("hold", "holder")
    held = out(holding).readline().split()
    processes.kill(holding)

    assert await store.leave(TOPIC, "group", "holder", died=True) == len(held) == 1

    assert ids(await take(store, "other", terms=TERMS)) == held


async def test_watchers_in_other_processes_are_woken(processes: Processes, store: SqliteLogStore):
    watching = [processes.start("watch", name) for name in ("one", "two")]
    for process in watching:
        assert out(process).readline() == "watching\n"

    await store.append("elsewhere", made("a", 0), retention=KEEP)
    await store.append(TOPIC, made("a", 0), retention=KEEP)

    for process, name in zip(watching, ("one", "two"), strict=True):
        assert out(process).readline() == f"{name} told 'events'\n"
    # Also when a key's next one may be delivered, and of what is given back.
    taken = await take(store, terms=TERMS, limit=5)
    await store.acknowledge(TOPIC, "group", "one", positions(taken))
    taken = await take(store, terms=TERMS, limit=1)
    await store.give_back(TOPIC, "group", "one", *positions(taken))
    for process, name in zip(watching, ("one", "two"), strict=True):
        assert [out(process).readline() for _ in range(2)] == [f"{name} told 'events'\n"] * 2


async def test_a_killed_watcher_is_forgotten(processes: Processes, store: SqliteLogStore):
    watching = processes.start("watch", "one")
    assert out(watching).readline() == "watching\n"
    folder = processes.database.with_name("state.events.db.wake")
    assert [path for path in folder.rglob("*") if not path.is_dir()]
    processes.kill(watching)

    await store.append(TOPIC, made("a", 0), retention=KEEP)
    await store.topics()

    assert list(folder.iterdir()) == []


def test_a_fork_harms_neither_parent_nor_child(processes: Processes):
    parent = processes.start("fork")

    said, _ = parent.communicate(timeout=60)

    assert parent.returncode == 0
    count = 5 * 40 + (0 + 1 + 2 + 3) + 4 * 10
    assert said.splitlines() == [*["child ended with 0"] * 4, f"{count} of {count}"]
    assert check(processes.database) == "ok"
