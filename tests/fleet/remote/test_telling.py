"""What is told of a task, whoever tells it: of which run, which task, and how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from coterie import BusListener, CloudEvent, EventBus, Orchestrator, Retry, Task, Team
from coterie._rules.decided import Decided, State
from coterie.errors import CallAbandoned, NoReply
from coterie.remote import Call, Worker, list_workers, waiting
from coterie.remote.queue import GROUP, queue_terms
from coterie.runtime import Runtime
from coterie.stores.memory import MemoryStateStore
from coterie.testing import ManualClock
from tests.fleet.remote.fleet import Fleet, call_of, eventually, until
from tests.fleet.remote.held import Held, held_call, submitted, waited


def call_told(task: Task, **more: Any) -> Call:
    return call_of(task, correlation_id="order-7", **more)


async def told(runtime: Runtime, name: str) -> list[CloudEvent]:
    return [recorded.event async for recorded in runtime.bus.replay(name)]


async def the_one(runtime: Runtime, name: str) -> CloudEvent:
    async def is_told() -> bool:
        return bool(await told(runtime, name))

    await eventually(is_told)
    (one,) = await told(runtime, name)
    return one


async def changed(fleet: Fleet, call: Call, change: Callable[[State], State]) -> None:
    await fleet.store.update(f"call/{call.id}", lambda state, _: Decided(change(state or {}), None))


def names(event: CloudEvent) -> tuple[Any, ...]:
    data = event.data
    assert isinstance(data, dict)
    return data["workflow_id"], data["task_id"], event.key, event.subject, event.correlation_id


async def test_a_call_that_is_given_up_is_told_with_its_run_and_task(fleet: Fleet):
    held, call = Held(), call_told(Task("t", "held"))
    await submitted(fleet, call)
    for n in range(5):
        await fleet.log.take("tasks/held", GROUP, f"dead-{n}", terms=queue_terms(15), limit=1)
        await fleet.log.leave("tasks/held", GROUP, f"dead-{n}", died=True)
    runtime = await fleet.runtime(held.team)
    async with fleet.worker(held.team):
        with pytest.raises(CallAbandoned, match=r"dlq list --all-topics.*coterie runs resume RUN"):
            await waited(fleet, call)
        failed = await the_one(runtime, "task.failed")

    assert names(failed) == ("r", "t", "r", "r/t", "order-7")
    assert (failed.data["state"], failed.data["call"], failed.data["agent_type"]) == ("abandoned", call.id, "held")
    assert failed.data["error"].startswith("CallAbandoned: 5 deliveries came to nothing")


async def test_a_call_that_cannot_be_read_is_told_as_given_up(fleet: Fleet):
    held, call = Held(), call_told(Task("t", "held"))
    await submitted(fleet, call)
    await changed(fleet, call, lambda state: {**state, "call": "{}"})
    runtime = await fleet.runtime(held.team)
    async with fleet.worker(held.team):
        failed = await the_one(runtime, "task.failed")

    assert names(failed) == ("r", "t", "r", "r/t", "order-7")
    assert failed.data["state"] == "abandoned"


async def test_a_call_that_its_caller_cancels_is_told_with_its_run_and_task(fleet: Fleet):
    runtime = await fleet.runtime(Held().team)
    call = call_told(Task("t", "held"))
    await runtime.remote.submit(call, owner="me")
    assert await runtime.remote.cancel(call.id, owner="me", by="the run")

    cancelled = await the_one(runtime, "task.cancelled")

    assert names(cancelled) == ("r", "t", "r", "r/t", "order-7")
    assert (cancelled.data["state"], cancelled.data["by"]) == ("cancelled", "the run")


async def test_a_call_that_nobody_begins_in_time_is_told_by_who_waits(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waiting, "LOOK_S", 0.02)
    runtime = await fleet.runtime(Held().team)
    call = call_told(Task("t", "held"), patience_s=0.05)
    await runtime.remote.submit(call, owner="me")
    with pytest.raises(NoReply):
        await asyncio.wait_for(runtime.remote.wait(call.id), 10)

    late = await the_one(runtime, "task.failed")

    assert names(late) == ("r", "t", "r", "r/t", "order-7")
    assert (late.data["state"], late.data["error"]) == ("late", "NoReply: nobody has begun it within 0.05 s")


async def test_a_call_that_nobody_begins_in_time_is_told_by_the_worker_that_finds_it_late(fleet: Fleet):
    clock = ManualClock()
    fleet.store = MemoryStateStore(clock=clock)
    held, call = Held(), call_told(Task("t", "held"), patience_s=60.0)
    await submitted(fleet, call)
    clock.advance(61.0)
    runtime = await fleet.runtime(held.team)
    await asyncio.wait_for(Worker(runtime, once=True).run(), 10)

    late = await the_one(runtime, "task.failed")

    assert (names(late), late.data["state"], held.began) == (("r", "t", "r", "r/t", "order-7"), "late", [])


async def test_workers_and_runs_tell_of_a_tasks_end_in_one_shape(fleet: Fleet):
    team = Team("both")

    @team.agent("odd")
    async def odd(_: dict[str, Any]) -> None:
        raise ValueError("7 is odd")

    task = Task("t", "odd", retry=Retry(max_attempts=1))
    runtime = await fleet.runtime(team)
    here = EventBus(fleet.log, topic="here")
    listener = BusListener(here)
    orchestrator = Orchestrator(on_event=listener)
    orchestrator.register_agent("odd", "odd", 1, handler=odd)
    await orchestrator.execute_workflow([task], workflow_id="r")
    await listener.aclose()
    await submitted(fleet, call_of(task))
    async with fleet.worker(team):
        there = await the_one(runtime, "task.failed")

    (told_here,) = [one.event async for one in here.replay("task.failed")]
    for event in (told_here, there):
        assert names(event) == ("r", "t", "r", "r/t", "r")
        assert list(event.data)[:4] == ["state", "error", "workflow_id", "task_id"]
        assert (event.data["state"], event.data["error"]) == ("failed", "ValueError: 7 is odd")


async def test_every_event_of_a_remote_task_has_its_run_as_key(fleet: Fleet):
    held = Held()
    held.release.set()
    runtime = await fleet.runtime(held.team)
    async with fleet.worker(held.team):
        await runtime.remote.submit(held_call(), owner="me")
        await the_one(runtime, "task.completed")

    events = await told(runtime, "task.*")
    assert {event.name for event in events} == {"task.created", "task.assigned", "task.completed"}
    assert {names(event) for event in events} == {("r", "t", "r", "r/t", "r")}


async def test_a_record_of_an_earlier_version_is_told_without_its_run(fleet: Fleet):
    runtime = await fleet.runtime(Held().team)
    call = held_call()
    await runtime.remote.submit(call, owner="me")
    new = ("run", "task", "correlation")
    await changed(fleet, call, lambda state: {name: value for name, value in state.items() if name not in new})
    await runtime.remote.cancel(call.id, by="me")

    cancelled = await the_one(runtime, "task.cancelled")
    assert (cancelled.key, cancelled.subject, "workflow_id" in cancelled.data) == ("", None, False)


async def test_log_lines_of_a_worker_name_run_and_task(fleet: Fleet, caplog: pytest.LogCaptureFixture):
    team = Team("worker")

    @team.agent("odd")
    async def odd(_: dict[str, Any]) -> None:
        raise ValueError("7 is odd")

    gone = held_call("gone", "odd")
    await submitted(fleet, gone)
    await fleet.calls.cancel(gone.id, by="me")
    await submitted(fleet, call_of(Task("odd", "odd", retry=Retry(max_attempts=1)), keeps="steps"))
    with caplog.at_level(logging.INFO):
        await asyncio.wait_for(Worker(await fleet.runtime(team), once=True).run(), 10)

    lines = [record.getMessage() for record in caplog.records]
    assert "task.failed odd of r: ValueError('7 is odd')" in lines
    assert f"call.dropped gone of r (call {gone.id}): its message is of no more use: cancelled" in lines


async def test_a_worker_that_drains_is_listed_so_at_once(fleet: Fleet):
    held = Held()
    worker = Worker(await fleet.runtime(held.team), worker_id="w", lease_s=600.0)
    work = asyncio.create_task(worker.run())
    await submitted(fleet, held_call())
    await until(lambda: held.began == ["t"])
    worker.stop()

    async def is_draining() -> bool:
        return [(one.state, one.in_use) for one in await list_workers(fleet.store)] == [("draining", 1)]

    await eventually(is_draining, within_s=5)
    held.release.set()
    await asyncio.wait_for(work, 15)


async def test_a_worker_says_that_it_works_once_others_can_see_it(fleet: Fleet):
    worker = Worker(await fleet.runtime(Held().team), once=True)
    seen: list[bool] = []

    await asyncio.wait_for(worker.run(registered=lambda: seen.append(worker.status()["ready"] is True)), 10)

    assert seen == [True]
