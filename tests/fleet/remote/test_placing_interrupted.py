"""A run whose tasks are elsewhere, and that is cancelled, resumed or forgotten meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie import Plan, Task, TaskContext, Team
from coterie._rules.call import call_record
from coterie._rules.decided import Decided
from coterie.journal import Intent
from coterie.remote import Call, waiting
from coterie.runtime import Runtime
from coterie.testing import FaultyStateStore
from tests.fleet.remote.fleet import Fleet, eventually, until
from tests.fleet.remote.test_placing import agents, caller


async def test_steps_of_a_run_that_was_cancelled_are_there_when_it_is_resumed(fleet: Fleet):
    paid: list[int] = []
    began, go = asyncio.Event(), asyncio.Event()
    team = Team("worker")

    @team.agent("stepper")
    async def steps(_: dict[str, Any], context: TaskContext) -> int:
        async def pay() -> int:
            paid.append(1)
            return len(paid)

        first: int = await context.step("pay", pay)
        began.set()
        await go.wait()
        return first

    orchestrator = (await fleet.runtime(Team("caller"))).orchestrator
    plan = Plan("p", [Task("t", "stepper", placement="remote")])
    async with fleet.worker(team):
        run = asyncio.create_task(orchestrator.execute_workflow(plan, workflow_id="r"))
        await asyncio.wait_for(began.wait(), 10)
        orchestrator.cancel("r")
        assert (await asyncio.wait_for(run, 10)).status == "cancelled"
        go.set()
        result = await asyncio.wait_for(orchestrator.execute_workflow(plan, workflow_id="r"), 10)

    assert (result["t"].output, paid) == (1, [1])


async def test_a_cancelled_run_ends_its_agents_elsewhere(fleet: Fleet):
    began, ended = asyncio.Event(), asyncio.Event()
    team = Team("worker")

    @team.agent("endless")
    async def endless(_: dict[str, Any]) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    orchestrator = (await fleet.runtime(Team("caller"))).orchestrator
    plan = Plan("p", [Task("t", "endless", placement="remote")])
    async with fleet.worker(team) as worker:
        run = asyncio.create_task(orchestrator.execute_workflow(plan, workflow_id="r"))
        await asyncio.wait_for(began.wait(), 10)
        orchestrator.cancel("r")

        assert (await asyncio.wait_for(run, 10)).status == "cancelled"
        await asyncio.wait_for(ended.wait(), 10)
        await until(lambda: worker.in_use == 0)


async def test_a_strict_run_is_strict_elsewhere(fleet: Fleet):
    orchestrator = (await fleet.runtime(caller())).orchestrator
    work = orchestrator.execute_workflow(
        Plan("p", [Task("t", "echo")]), workflow_id="r", intent=Intent(engine_run="e", strict=True)
    )
    run = asyncio.create_task(work)

    async def asked() -> list[Call]:
        records = [call_record((await fleet.store.read(key))[0]) for key in await fleet.store.keys("call")]
        return [Call.from_json(record.call) for record in records if record is not None]

    await eventually(asked)
    (call,) = await asked()
    run.cancel()
    await asyncio.wait({run})

    assert call.intent.strict


async def test_a_call_that_its_store_has_forgotten_is_asked_for_anew(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waiting, "LOOK_S", 0.05)
    orchestrator = (await fleet.runtime(caller())).orchestrator
    run = asyncio.create_task(orchestrator.execute_workflow(Plan("p", [Task("t", "echo")]), workflow_id="r"))

    async def is_queued() -> bool:
        return bool(await fleet.store.keys("call"))

    await eventually(is_queued)
    # As with a store that was emptied.
    for key in await fleet.store.keys("call"):
        await fleet.store.update(key, lambda *_: Decided(None, None))
    await fleet.log.drop_topic("tasks/echo")
    await asyncio.sleep(0.2)
    async with fleet.worker(agents()):
        result = await asyncio.wait_for(run, 20)

    assert result["t"].state == "succeeded"


async def test_a_run_that_is_cancelled_twice_ends_its_agents_elsewhere_too(fleet: Fleet):
    state = FaultyStateStore(fleet.store)
    runtime = Runtime(caller(), store=state, log=fleet.log)
    orchestrator = (await fleet.held.enter_async_context(runtime)).orchestrator
    run = asyncio.create_task(orchestrator.execute_workflow(Plan("p", [Task("t", "slow")]), workflow_id="r"))

    async def phases() -> set[str]:
        calls = [await fleet.calls.look(key.partition("/")[2]) for key in await fleet.store.keys("call")]
        return {call.phase for call in calls if call is not None}

    async def is_running() -> bool:
        return await phases() == {"running"}

    async with fleet.worker(agents()) as worker:
        await eventually(is_running)
        state.gate.clear()
        for _ in range(2):
            run.cancel()
            await asyncio.sleep(0.05)
        state.gate.set()
        await asyncio.wait({run})
        assert await phases() == {"cancelled"}
        await until(lambda: worker.in_use == 0)
