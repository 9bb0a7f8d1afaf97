"""Real worker processes, on files and on a real server: killed, drained and joined, they lose and repeat nothing."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from coterie import Plan, Task
from coterie.remote import list_workers
from coterie.runtime import Runtime
from tests.fleet.remote.caller_process import WORKFLOW_ID, caller, plan
from tests.fleet.remote.fleet import eventually, until
from tests.fleet.remote.processes import REPOSITORY, Workers, environment, notes_of, workers
from tests.support.redis_servers import SYNCED, valkey
from tests.support.slot_log import ends_of, happenings, idle_slots

SLOT_S = 0.25
LONG_S = 60.0


@pytest.fixture(params=["sqlite", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/state.db"
        return
    with valkey(arguments=SYNCED) as server:
        yield server.url


@pytest.fixture
def fleet(url: str, tmp_path: Path) -> Iterator[Workers]:
    with workers(url, tmp_path) as found:
        yield found


async def began(notes: Path, times: int, what: str = "begun") -> None:
    await until(lambda: sum(line[0] == what for line in notes_of(notes)) >= times, LONG_S)


async def test_steps_that_a_killed_worker_had_finished_are_not_done_again(fleet: Workers, tmp_path: Path):
    notes, go = tmp_path / "notes", tmp_path / "go"
    fleet.start("first")
    async with Runtime(caller(), store=fleet.url, journal=True) as runtime:
        run = asyncio.create_task(runtime.orchestrator.execute_workflow(plan(str(notes), str(go)), workflow_id="r"))
        await began(notes, 1)
        fleet.kill("first")
        second = fleet.start("second")
        await began(notes, 2)
        go.touch()
        result = await asyncio.wait_for(run, LONG_S)
        output = result["step"].output

    assert output["by"] == second.pid
    assert output["payer"] != second.pid
    assert Counter(line[0] for line in notes_of(notes)) == {"paid": 1, "begun": 2}
    assert len({line[2] for line in notes_of(notes) if line[0] == "begun"}) == 1


async def test_a_worker_that_was_stopped_beyond_its_lease_is_replaced_and_its_end_does_not_count(
    fleet: Workers, tmp_path: Path
):
    notes, go = tmp_path / "notes", tmp_path / "go"
    first = fleet.start("first", "--lease", "1")
    async with Runtime(caller(), store=fleet.url, journal=True) as runtime:
        run = asyncio.create_task(runtime.orchestrator.execute_workflow(plan(str(notes), str(go)), workflow_id="r"))
        await began(notes, 1)
        first.send_signal(signal.SIGSTOP)
        second = fleet.start("second", "--lease", "1")
        await began(notes, 2)
        first.send_signal(signal.SIGCONT)
        go.touch()
        result = await asyncio.wait_for(run, LONG_S)
        output = result["step"].output

        async def are_both_alive() -> bool:
            workers = await list_workers(runtime.remote.store)
            return {(each.id, each.state, each.in_use) for each in workers} == {
                ("first", "alive", 0),
                ("second", "alive", 0),
            }

        await eventually(are_both_alive, LONG_S)

    assert output["by"] == second.pid
    assert output["payer"] == first.pid
    assert Counter(line[0] for line in notes_of(notes)) == {"paid": 1, "begun": 2}


async def test_a_run_whose_process_was_killed_joins_the_call_that_goes_on(fleet: Workers, tmp_path: Path):
    notes, go = tmp_path / "notes", tmp_path / "go"
    fleet.start("worker")
    command = [sys.executable, str(Path(__file__).with_name("caller_process.py")), fleet.url, str(notes), str(go)]
    first = subprocess.Popen(command, cwd=REPOSITORY, env=environment(tmp_path))  # noqa: ASYNC220
    try:
        await began(notes, 1)
    finally:
        first.kill()
        first.wait(LONG_S)

    async with Runtime(caller(), store=fleet.url, journal=True) as runtime:
        run = asyncio.create_task(
            runtime.orchestrator.execute_workflow(plan(str(notes), str(go)), workflow_id=WORKFLOW_ID)
        )
        await asyncio.sleep(0.3)
        go.touch()
        result = await asyncio.wait_for(run, LONG_S)

    assert result.status == "succeeded"
    assert Counter(line[0] for line in notes_of(notes)) == {"paid": 1, "begun": 1}


async def test_tasks_survive_workers_that_die_leave_and_join_and_no_slot_stands_idle(fleet: Workers, tmp_path: Path):
    await fleet_run(fleet, tmp_path, tasks=48)


@pytest.mark.full
async def test_two_hundred_tasks_survive_workers_that_die_leave_and_join(fleet: Workers, tmp_path: Path):
    await fleet_run(fleet, tmp_path, tasks=200)


async def fleet_run(fleet: Workers, tmp_path: Path, *, tasks: int) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    chance = random.Random(seed)  # tasks, no secrets
    notes = tmp_path / "notes"
    work = Plan("many", [_task(number, chance, notes) for number in range(tasks)])
    for name in ("one", "two", "three"):
        fleet.start(name, "--capacity", "3")
    async with Runtime(caller(), store=fleet.url, journal=True) as runtime, stalls(tmp_path) as stalled:
        await _ready(runtime, 3)
        run = asyncio.create_task(runtime.orchestrator.execute_workflow(work, workflow_id="r"))
        await began(notes, tasks // 4)
        killed_at = fleet.kill("one")
        await began(notes, tasks // 2)
        fleet.drain("two")
        fleet.start("four", "--capacity", "3")
        result = await asyncio.wait_for(run, LONG_S)
        await until(lambda: fleet.processes["two"].poll() is not None, LONG_S)
        log = happenings([recorded.event async for recorded in runtime.bus.replay("task.*", "agent.*")])

    assert {end.state for end in result} == {"succeeded"}
    assert fleet.processes["two"].returncode == 0
    begun = Counter(line[1] for line in notes_of(notes) if line[0] == "begun")
    ended = Counter(line[1] for line in notes_of(notes) if line[0] == "ended")
    # Of what the killed one was at, and of nothing else, the agent was called again.
    assert set(ended) == set(begun) == {task.id for task in work.tasks}
    assert sum(begun.values()) - tasks <= 3
    assert all(count == 1 for name, count in ended.items() if begun[name] == 1)
    told = ends_of(log)
    assert max(len(by) for by in told.values()) == 1
    assert len(told) >= tasks - 3
    idle = idle_slots(log, within_s=0.0, gone={"one": killed_at})
    longest = max((each.seconds for each in idle), default=0.0)
    print(f"stalled {stalled[0]:.3f} s; a slot stood free for {longest:.3f} s at most")  # noqa: T201  # likewise
    assert [each for each in idle if each.seconds > SLOT_S + 2 * stalled[0]] == []


def _task(number: int, chance: random.Random, notes: Path) -> Task:
    seconds = chance.choice((0.01, 0.05, 0.1, 0.3))
    return Task(
        f"t{number}",
        chance.choice(("lint", "scan")),
        input={"notes": str(notes), "seconds": seconds},
        priority=chance.randrange(3),
    )


async def _ready(runtime: Runtime, count: int) -> None:
    async def there() -> bool:
        return len(await list_workers(runtime.remote.store)) >= count

    await eventually(there, LONG_S)


@asynccontextmanager
async def stalls(folder: Path) -> AsyncIterator[list[float]]:
    """For how long, at most, this process, which does next to nothing, was kept from its processor, or from its disk.

    What all must wait for is nobody's fault: neither the tests' neighbours nor the disk are what is tested.
    """
    longest = [0.0]

    def written() -> None:
        with (folder / "stall").open("wb") as file:
            file.write(b"x")
            os.fsync(file.fileno())

    async def look(work: Callable[[], Awaitable[object]], least_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await work()
            longest[0] = max(longest[0], loop.time() - before - least_s)
            await asyncio.sleep(0.01)

    looking = [
        asyncio.create_task(look(partial(asyncio.sleep, 0.01), 0.01)),
        asyncio.create_task(look(partial(asyncio.to_thread, written), 0.0)),
    ]
    try:
        yield longest
    finally:
        for task in looking:
            task.cancel()
        await asyncio.wait(looking)
