"""Processes that run a machine are killed, for good, at every moment at which they write; others go on with it."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coterie.errors import IllegalTransition, UnknownRun
from coterie.journal import Journal
from coterie.machine_run import StateMachineRun
from coterie.stores.opening import open_journal_store
from tests.journal.machine.worker import MACHINE, NAMESPACE, PATH, RUN, read_log
from tests.support.redis_servers import SYNCED, valkey

PATIENCE_S = 60.0
ACTIONS = [f"{state}-{number}" for number, state in enumerate(PATH, start=1) if state in ("draft", "check")]
# How often a process writes that runs the machine alone: how it begins (twice), and for each action that it is claimed,
# how it ended, and where the machine went. A test below counts them.
WRITES = 2 + 3 * len(ACTIONS)
RECORDS = list(range(4, WRITES, 3))
MOMENTS = [(when, number) for when in ("before", "after") for number in range(1, WRITES + 1)]
SAMPLE = 3


class Stage:
    """A journal, a log of what agents began, and processes that run the machine."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.url = url or f"sqlite://{folder}/state.db"
        self.log = folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *moment: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.journal.machine.worker", self.url, str(self.log), *map(str, moment)]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return self.processes[-1]

    @asynccontextmanager
    async def run(self) -> AsyncIterator[StateMachineRun]:
        store = open_journal_store(self.url, NAMESPACE)
        try:
            yield StateMachineRun(Journal(store), RUN)
        finally:
            await store.aclose()

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


async def decide(run: StateMachineRun, *, times: int = 1) -> None:
    """What a person does whenever a text lies there: reject the first, approve the second; said `times` times."""
    status = await run.status()
    if status.state != "review" or status.phase == "over":
        return
    event = "reject" if status.visit == PATH.index("review") + 1 else "approve"
    for _ in range(times):
        try:
            await run.send(event, who="ann", event_id=f"{event}-{status.visit}", visit=status.visit)
        except IllegalTransition:
            # Somebody else has decided meanwhile.
            return


async def play(stage: Stage, *moments: tuple[object, ...], seed: int | None = None) -> Counter[str]:
    """Run the machine to its end, in processes that die at these moments, each followed by another one.

    Returns how often the work of each visit began. With a seed, two processes run it, and one is killed now and then.
    """
    chance, pending = random.Random(seed), list(moments)
    running = [stage.start(*(pending.pop(0) if pending else ()))]
    if seed is not None:
        running.append(stage.start())
    async with stage.run() as run, asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await decide(run, times=2)
                if (await run.status()).phase == "over":
                    break
            except UnknownRun:
                pass
            if seed is not None and chance.random() < 0.02:
                chance.choice(running).kill()
            for number, process in enumerate(running):
                if process.poll() not in (None, 0):
                    assert process.returncode == -signal.SIGKILL, process.communicate()[1].decode()
                    running[number] = stage.start(*(pending.pop(0) if pending else ()))
            await asyncio.sleep(0.005)
        for process in running:
            assert process.wait(PATIENCE_S) in (0, -signal.SIGKILL), process.communicate()[1].decode()
        assert not pending
        await check(run)
    begun = read_log(stage.log)
    keys = {(entry["task"], entry["key"]) for entry in begun}
    # Whoever repeats work that was not recorded repeats it under its key; no other work has that key.
    assert len(keys) == len({task for task, _ in keys}) == len({key for _, key in keys})
    return Counter(entry["task"] for entry in begun)


async def check(run: StateMachineRun) -> None:
    """The machine went its way, once."""
    history = await run.history(limit=100)
    assert [visit.state for visit in history] == PATH[:-1]
    assert [visit.to for visit in history] == PATH[1:]
    status = await run.status()
    assert (status.state, status.status, status.visit) == ("done", "succeeded", len(PATH))
    assert [visit.event_id for visit in history if visit.who] == ["reject-7", "approve-10"]
    assert MACHINE.hash == status.machine_hash


async def test_one_process_does_everything_once(stage: Stage):
    begun = await play(stage)

    assert begun == Counter(ACTIONS)
    assert int(stage.processes[0].communicate()[0]) == WRITES


async def survives(stage: Stage, when: str, number: int) -> None:
    begun = await play(stage, (when, number))

    # Killed between what an agent did and its record, that is done again; nothing else ever is.
    repeats = when == "before" and number in RECORDS
    assert begun - Counter(ACTIONS) == ({ACTIONS[RECORDS.index(number)]: 1} if repeats else {})
    assert begun.keys() == set(ACTIONS)
    assert stage.processes[0].returncode == -signal.SIGKILL


async def test_killed_at_any_of_its_writes_it_is_gone_on_with(tmp_path: Path):
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201

    for when, number in random.Random(seed).sample(MOMENTS, SAMPLE):
        stage = Stage(tmp_path / f"{when}-{number}")
        try:
            await survives(stage, when, number)
        finally:
            stage.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_one_of_its_writes_to_a_server_it_is_gone_on_with(tmp_path: Path, when: str):
    number = random.randrange(1, WRITES + 1)
    print(f"killed {when} write {number}")  # noqa: T201

    with valkey(arguments=SYNCED) as server:
        stage = Stage(tmp_path / "stage", server.url)
        try:
            await survives(stage, when, number)
        finally:
            stage.close()


@pytest.mark.full
@pytest.mark.parametrize(("when", "number"), MOMENTS)
async def test_killed_at_each_of_its_writes_it_is_gone_on_with(stage: Stage, when: str, number: int):
    await survives(stage, when, number)


async def test_killed_again_and_again_it_comes_to_its_end(stage: Stage):
    begun = await play(stage, ("after", 3), ("before", 2), ("after", 2), ("before", 4), ("after", 5))

    assert sum((begun - Counter(ACTIONS)).values()) <= 5


@pytest.mark.full
@pytest.mark.parametrize("number", range(5))
async def test_two_processes_run_it_while_one_is_killed_now_and_then(stage: Stage, number: int):
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201

    begun = await play(stage, seed=seed)

    killed = sum(process.returncode == -signal.SIGKILL for process in stage.processes)
    assert sum((begun - Counter(ACTIONS)).values()) <= killed
