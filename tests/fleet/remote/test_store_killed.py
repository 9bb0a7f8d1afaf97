"""The server of all stores is killed and comes back while tasks end: workers wait for it, and do nothing twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from coterie import Plan, Task, Team
from coterie.remote import Call, list_workers
from coterie.runtime import Runtime
from tests.fleet.remote.fleet import eventually, until
from tests.fleet.remote.processes import Workers, notes_of, workers
from tests.support.redis_servers import SYNCED, Server, valkey

LONG_S = 60.0
AWAY_S = 3.0
TASKS = 8

Ask: TypeAlias = Callable[[Runtime, list[Task]], Awaitable[list[str]]]


@pytest.fixture
def server() -> Iterator[Server]:
    with valkey(arguments=SYNCED) as found:
        yield found


@pytest.fixture
def fleet(server: Server, tmp_path: Path) -> Iterator[Workers]:
    with workers(server.url, tmp_path) as found:
        yield found


def errands(tmp_path: Path, *, steps: bool) -> list[Task]:
    given = {"notes": str(tmp_path / "notes"), "go": str(tmp_path / "go"), "steps": steps}
    return [Task(f"t{number}", "errand", input=given) for number in range(TASKS)]


def caller() -> Team:
    team = Team("caller")
    for name in ("errand", "lint"):
        team.remote(name)
    return team


async def both_are_there(runtime: Runtime) -> None:
    async def are_there() -> bool:
        return len(await list_workers(runtime.remote.store)) == 2

    await eventually(are_there, LONG_S)


async def killed(server: Server, away_s: float) -> None:
    """Killed, as by SIGKILL, and there again after so long, with all that it had said it had."""
    server.kill()
    await asyncio.sleep(away_s)
    await asyncio.to_thread(server.start)


async def as_run(runtime: Runtime, tasks: list[Task]) -> list[str]:
    """As coterie's own engine asks for them."""
    result = await runtime.orchestrator.execute_workflow(Plan("p", tasks), workflow_id="r")
    return [end.state for end in result]


async def as_calls(runtime: Runtime, tasks: list[Task]) -> list[str]:
    """As schedulers do, which claim nothing while they wait."""
    calls = [Call.of(task, namespace="default", workflow_id="r") for task in tasks]
    for call in calls:
        await runtime.remote.submit(call, owner="me")
    return [end.state for end in await asyncio.gather(*(runtime.remote.wait(call.id) for call in calls))]


@pytest.mark.parametrize("ask", [as_run, as_calls])
@pytest.mark.parametrize("steps", [False, True], ids=["ends", "steps"])
async def test_tasks_that_end_while_the_server_is_killed_and_comes_back_are_done_once(
    fleet: Workers, server: Server, tmp_path: Path, ask: Ask, steps: bool
):
    notes = tmp_path / "notes"
    for name in ("one", "two"):
        fleet.start(name, "--capacity", "4")
    async with Runtime(caller(), store=fleet.url, journal=True) as runtime:
        await both_are_there(runtime)
        asked = asyncio.ensure_future(ask(runtime, errands(tmp_path, steps=steps)))
        await until(lambda: len(notes_of(notes)) == TASKS, LONG_S)
        killing = asyncio.create_task(killed(server, AWAY_S))
        await until(lambda: server.process is None)
        (tmp_path / "go").touch()
        await killing
        ends = await asyncio.wait_for(asked, LONG_S)

    logs = fleet.log("one") + fleet.log("two")
    assert ends == ["succeeded"] * TASKS
    assert Counter(line[0] for line in notes_of(notes)) == {
        "begun": TASKS,
        "ended": TASKS,
        **({"paid": TASKS} if steps else {}),
    }
    assert "is at work on" not in logs


@pytest.mark.full
@pytest.mark.parametrize("ask", [as_run, as_calls])
@pytest.mark.parametrize("away_s", [0.5, 8.0])
async def test_a_fleet_at_work_goes_on_after_its_server_was_killed_and_does_nothing_twice(
    fleet: Workers, server: Server, tmp_path: Path, ask: Ask, away_s: float
):
    notes = tmp_path / "notes"
    for name in ("one", "two"):
        fleet.start(name, "--capacity", "2")
    given = [{"notes": str(notes), "seconds": 0.2 + number % 5 * 0.1} for number in range(30)]
    tasks = [Task(f"t{number}", "lint", input=each) for number, each in enumerate(given)]
    async with Runtime(caller(), store=fleet.url, journal=True) as runtime:
        await both_are_there(runtime)
        asked = asyncio.ensure_future(ask(runtime, tasks))
        await until(lambda: len(notes_of(notes)) >= 16, LONG_S)
        await killed(server, away_s)
        ends = await asyncio.wait_for(asked, LONG_S)

    begun = Counter(line[1] for line in notes_of(notes) if line[0] == "begun")
    assert ends == ["succeeded"] * 30
    assert begun == dict.fromkeys((task.id for task in tasks), 1)
