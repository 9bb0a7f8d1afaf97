"""Many processes share one SQLite journal; some are killed in the middle of it, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import pytest

from coterie.errors import Unavailable
from coterie.stores.journal_sqlite import SqliteJournalStore
from coterie.testing.journal_handles import count_up
from tests.fleet.journal.journal_process import CALLERS
from tests.fleet.journal.tools import check

SCRIPT = Path(__file__).with_name("journal_process.py")
KILLS = 50


class Processes:
    """Starts processes on one database, each in a group of its own, and ends them."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *what: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", str(SCRIPT), what[0], str(self.database), *what[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def kill(self, process: subprocess.Popen[str]) -> list[str]:
        """Kill it, with what it started; returns what it said that was not read yet."""
        os.killpg(process.pid, signal.SIGKILL)
        with process, out(process) as said:
            # Written by one call each, so that the last line is whole.
            return said.read().splitlines()


def out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


@pytest.fixture
def processes(path: Path) -> Iterator[Processes]:
    processes = Processes(path)
    yield processes
    for process in processes.running:
        with process:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
async def store(processes: Processes) -> AsyncIterator[SqliteJournalStore]:
    store = SqliteJournalStore(processes.database, patience_s=20)
    yield store
    await store.aclose()


class Acknowledged:
    """What processes were told is durable."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.counts: list[int] = []

    def add(self, line: str) -> None:
        name, count = line.split()
        self.names.append(name)
        self.counts.append(int(count))

    async def check_in(self, store: SqliteJournalStore, *, killed: int) -> None:
        """All of it is there; of what nobody was told, only what was being written when a process was killed."""
        texts = {path: text for path, text in (await store.read("one")).items() if not path.startswith("claim/")}
        for name in self.names:
            assert texts.pop(f"a/{name}") == name
            assert texts.pop(f"b/{name}") == name * 50
        # Each caller may have been about to write, or to count, and no pair is torn.
        assert len(texts) <= 2 * CALLERS * killed
        assert {path[2:] for path in texts if path[0] == "a"} == {path[2:] for path in texts if path[0] == "b"}
        total = int((await store.read("counted"))["n"])
        assert len(set(self.counts)) == len(self.counts)
        assert max(self.counts) <= total <= len(self.counts) + CALLERS * killed


async def test_what_was_acknowledged_survives_fifty_kills(processes: Processes):
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # shown where it fails
    chance, acknowledged = random.Random(seed), Acknowledged()
    zygote = processes.start("zygote")
    assert zygote.stdin is not None
    for _ in range(KILLS):
        print("another", file=zygote.stdin, flush=True)
        child = int(out(zygote).readline().removeprefix("pid "))
        for _ in range(chance.randrange(30)):
            acknowledged.add(out(zygote).readline())
        os.kill(child, signal.SIGKILL)
        while (line := out(zygote).readline()) != "gone\n":
            acknowledged.add(line)
    zygote.stdin.close()
    zygote.wait()

    # Nobody has closed the database: what is found is what lies in its log.
    assert processes.database.with_name(f"{processes.database.name}-wal").exists()
    store = SqliteJournalStore(processes.database)
    await acknowledged.check_in(store, killed=KILLS)
    await store.aclose()
    assert len(acknowledged.names) > KILLS
    assert check(processes.database) == "ok"


async def test_processes_that_write_at_once_lose_nothing_though_some_are_killed(
    processes: Processes, store: SqliteJournalStore
):
    acknowledged = Acknowledged()
    writing = [processes.start("write") for _ in range(3)]
    for _ in range(3):
        for process in writing:
            for _ in range(20):
                acknowledged.add(out(process).readline())
        for line in processes.kill(writing.pop(0)):
            acknowledged.add(line)

    await acknowledged.check_in(store, killed=3)
    assert check(processes.database) == "ok"


@pytest.mark.parametrize(("when", "written"), [("before", 6), ("after", 7)])
async def test_a_process_that_dies_at_a_write_leaves_what_it_wrote(
    processes: Processes, store: SqliteJournalStore, when: str, written: int
):
    dying = processes.start("die", "7", when)

    assert dying.wait(60) == -signal.SIGKILL

    assert sorted(await store.read("one")) == [f"p{n}" for n in range(1, written + 1)]


async def test_a_process_that_is_killed_while_it_decides_leaves_no_lock(
    processes: Processes, store: SqliteJournalStore
):
    holding = processes.start("hold")
    assert out(holding).readline() == "holding\n"

    processes.kill(holding)

    assert await store.change("one", ["n"], count_up()) == 1


async def test_a_process_that_hangs_makes_others_unavailable_and_lets_them_read(processes: Processes):
    impatient = SqliteJournalStore(processes.database, patience_s=0.3)
    await impatient.write("one", {"n": "1"})
    holding = processes.start("hold")
    assert out(holding).readline() == "holding\n"
    holding.send_signal(signal.SIGSTOP)

    with pytest.raises(Unavailable, match="look for a process that holds it"):
        await impatient.write("one", {"late": "1"})
    assert await impatient.read("one") == {"n": "1"}
    processes.kill(holding)

    # What gave up did not happen afterwards.
    assert await impatient.change("one", ["n"], count_up()) == 2
    assert await impatient.read("one") == {"n": "2"}
    await impatient.aclose()


async def test_where_a_file_cannot_grow_nothing_is_acknowledged_that_is_not_there(
    processes: Processes, store: SqliteJournalStore
):
    filling = processes.start("fill")
    said, _ = filling.communicate(timeout=60)

    why, counts = said.splitlines()
    assert filling.returncode == 0
    assert why.startswith("Unavailable the journal database")
    assert str(processes.database) in why
    done, readable = map(int, counts.split())
    # About one MiB, in texts of 5 kB; and it could be read while it was so.
    assert done == readable > 50
    assert await store.read("one") == {f"p{n}": f"{n:5}" * 1000 for n in range(done)}
    assert check(processes.database) == "ok"


def test_a_fork_harms_neither_parent_nor_child(processes: Processes):
    parent = processes.start("fork")

    said, _ = parent.communicate(timeout=60)

    assert parent.returncode == 0
    assert said.splitlines() == [*["child ended with 0"] * 5, "{'n': '1050'}"]
    assert check(processes.database) == "ok"
