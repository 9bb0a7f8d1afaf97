"""Processes that ask, wait or answer are killed, for good, and others go on; people in several processes answer."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coterie import Approvals
from coterie.approvals import PendingApproval
from coterie.errors import UnknownRun
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store
from tests.journal.approvals.conftest import RUN
from tests.journal.approvals.worker import NAMESPACE
from tests.journal.machine.worker import read_log
from tests.support.redis_servers import SYNCED, valkey

PATIENCE_S = 60.0
# How often the process writes that runs the plan alone: how it begins, the draft, the question, the decision, what is
# published, how it ends. A test below counts them.
WRITES = 6
DRAFT, PUBLISHED = 2, 5
MOMENTS = [(when, number) for when in ("before", "after") for number in range(1, WRITES + 1)]
SAMPLE = 3


class Paper:
    """A journal, a log of what agents began, and processes."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.url = url or f"sqlite://{folder}/state.db"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *argv: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.journal.approvals.worker", str(self.folder), self.url]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.processes.append(subprocess.Popen([*command, *map(str, argv)], **pipes))
        return self.processes[-1]

    @asynccontextmanager
    async def people(self) -> AsyncIterator[Approvals]:
        store = open_journal_store(self.url, NAMESPACE)
        try:
            yield Approvals(Journal(store))
        finally:
            await store.aclose()

    async def asked(self, running: subprocess.Popen[bytes] | None = None) -> PendingApproval:
        """Wait until the question is there."""
        async with self.people() as people, asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    for one in await people.pending(RUN):
                        return one
                except UnknownRun:
                    pass
                assert running is None or running.poll() is None, running.communicate()[1].decode()
                await asyncio.sleep(0.01)

    @property
    def begun(self) -> Counter[str]:
        """How often each task's agent began. Whoever repeats work repeats it under its key."""
        log = read_log(self.folder / "log")
        assert len({entry["key"] for entry in log}) == len({entry["task"] for entry in log})
        return Counter(entry["task"] for entry in log)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


def printed(process: subprocess.Popen[bytes]) -> Any:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@pytest.fixture(params=["sqlite", "valkey"])
def paper(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Paper]:
    if request.param == "sqlite":
        paper = Paper(tmp_path)
        yield paper
        paper.close()
        return
    with valkey(arguments=SYNCED) as server:
        paper = Paper(tmp_path, server.url)
        yield paper
        paper.close()


async def test_killed_while_it_waits_and_answered_while_nobody_runs(paper: Paper):
    first = paper.start("run")
    before = await paper.asked(first)
    first.kill()
    assert first.wait(PATIENCE_S) == -signal.SIGKILL

    async with paper.people() as people:
        decision = await people.answer(RUN, "sign-off", "approve", by="ann")

    found = printed(paper.start("run"))
    assert (found["status"], found["decision"]) == ("succeeded", decision.to_dict())
    assert decision.at >= before.asked_at
    assert paper.begun == Counter(["draft", "publish"])


async def test_killed_while_it_waits_the_next_waits_for_the_same_question(paper: Paper):
    first = paper.start("run")
    before = await paper.asked(first)
    async with asyncio.timeout(PATIENCE_S):
        while not (paper.folder / "waits").exists():  # noqa: ASYNC110  # a process makes it
            await asyncio.sleep(0.01)
    first.kill()
    first.wait(PATIENCE_S)
    second = paper.start("run")
    while len((paper.folder / "waits").read_text().splitlines()) < 2:
        assert second.poll() is None, second.communicate()[1].decode()
        await asyncio.sleep(0.01)

    async with paper.people() as people:
        assert await paper.asked(second) == before
        await people.answer(RUN, "sign-off", "reject", by="bob")

    assert printed(second)["status"] == "failed"
    assert paper.begun == Counter(["draft"])


async def test_of_people_in_several_processes_exactly_one_decides_and_all_others_are_told_who(paper: Paper):
    running = paper.start("run")
    await paper.asked(running)
    people = {f"person-{number}": "approve" if number % 2 else "reject" for number in range(4)}
    answering = [paper.start("answer", choice, by) for by, choice in people.items()]
    async with asyncio.timeout(PATIENCE_S):
        while not all((paper.folder / f"ready-{by}").exists() for by in people):  # noqa: ASYNC110  # processes
            await asyncio.sleep(0.01)

    (paper.folder / "go").touch()

    found = [printed(process) for process in answering]
    (decided,) = [one["decided"] for one in found if "decided" in one]
    assert [one["told"] for one in found if "told" in one] == [decided] * 3
    assert people[decided["by"]] == decided["choice"]
    end = printed(running)
    assert end["status"] == ("succeeded" if decided["choice"] == "approve" else "failed")
    async with paper.people() as there:
        (kept,) = await there.of_run(RUN)
    assert kept.decision is not None
    assert kept.decision.to_dict() == decided


async def survives(paper: Paper, when: str, number: int) -> None:
    """Killed at one moment, it is gone on with; a person answers as soon as they are asked, by whichever process."""
    paper.start("run", when, number)
    found: Any = None
    async with paper.people() as people, asyncio.timeout(PATIENCE_S):
        while found is None:
            try:
                for one in await people.pending(RUN):
                    await people.answer(RUN, one.task_id, "approve", by="ann")
            except UnknownRun:
                pass
            code = paper.processes[-1].poll()
            if code == -signal.SIGKILL:
                paper.start("run")
            elif code is not None:
                found = printed(paper.processes[-1])
            await asyncio.sleep(0.005)
        (kept,) = await people.of_run(RUN)
    assert paper.processes[0].returncode == -signal.SIGKILL
    assert kept.decision is not None
    assert (found["status"], found["decision"]) == ("succeeded", kept.decision.to_dict())
    # Killed between what an agent did and its record, that is done again; nothing else ever is.
    again = {"draft": 1} if (when, number) == ("before", DRAFT) else {}
    again |= {"publish": 1} if (when, number) == ("before", PUBLISHED) else {}
    assert paper.begun == Counter(["draft", "publish"]) + Counter(again)


async def test_one_process_writes_so_often(tmp_path: Path):
    paper = Paper(tmp_path)
    running = paper.start("run")
    await paper.asked(running)
    async with paper.people() as people:
        await people.answer(RUN, "sign-off", "approve", by="ann")

    assert printed(running)["writes"] == WRITES


async def test_killed_at_any_of_its_writes_it_is_gone_on_with(tmp_path: Path):
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201

    for when, number in random.Random(seed).sample(MOMENTS, SAMPLE):
        paper = Paper(tmp_path / f"{when}-{number}")
        try:
            await survives(paper, when, number)
        finally:
            paper.close()


@pytest.mark.full
@pytest.mark.parametrize(("when", "number"), MOMENTS)
async def test_killed_at_each_of_its_writes_it_is_gone_on_with(paper: Paper, when: str, number: int):
    await survives(paper, when, number)
