"""What happens in runs is published aside: no run waits for it, or fails by it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest

from coterie import Event, Orchestrator, Retry, Task, TaskContext
from coterie.bus import BusListener, EventBus, Recorded
from coterie.errors import PolicyError
from coterie.ports import LogStore
from coterie.usage import Usage
from tests.fleet.bus.buses import Weather


async def echo(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    if "fails" in task_input:
        raise ValueError("no")
    return {"secret": "output"}


async def run(listener: Any, tasks: list[Task], workflow_id: str = "run-1") -> None:
    orchestrator = Orchestrator(on_event=listener)
    orchestrator.register_agent("echo", "echo", 2, handler=echo)
    await orchestrator.execute_workflow(tasks, workflow_id=workflow_id)


async def published(bus: EventBus) -> list[Recorded]:
    return [one async for one in bus.replay()]


async def test_a_run_is_told_from_its_begin_to_its_end_in_order(bus: EventBus):
    listener = BusListener(bus)
    await run(listener, [Task("a", "echo"), Task("b", "echo", depends_on=["a"])])
    await listener.aclose()

    events = [one.event for one in await published(bus)]
    assert [(event.name, event.subject) for event in events] == [
        ("workflow.started", "run-1"),
        ("task.started", "run-1/a"),
        ("task.completed", "run-1/a"),
        ("task.started", "run-1/b"),
        ("task.completed", "run-1/b"),
        ("workflow.completed", "run-1"),
    ]
    assert {(event.key, event.correlation_id) for event in events} == {("run-1", "run-1")}
    assert (events[2].data["workflow_id"], events[2].data["task_id"]) == ("run-1", "a")


async def test_how_tasks_and_runs_end_is_their_events_name(bus: EventBus):
    listener = BusListener(bus)
    once = Retry(max_attempts=1)
    await run(
        listener,
        [
            Task("fails", "echo", input={"fails": True}, retry=once),
            Task("blocked", "echo", depends_on=["fails"]),
        ],
    )
    await listener.aclose()

    names = {one.event.subject: one.event.name for one in await published(bus)}
    assert names == {"run-1": "workflow.failed", "run-1/fails": "task.failed", "run-1/blocked": "task.skipped"}


async def test_how_a_task_ended_comes_first_so_that_it_is_seen_where_data_are_cut(bus: EventBus):
    listener = BusListener(bus)
    await run(listener, [Task("fails", "echo", input={"fails": True}, retry=Retry(max_attempts=1))])
    await listener.aclose()

    (failed,) = [one.event async for one in bus.replay("task.failed")]
    assert list(failed.data)[:4] == ["state", "error", "workflow_id", "task_id"]


async def test_neither_inputs_nor_outputs_are_published(bus: EventBus):
    listener = BusListener(bus)
    await run(listener, [Task("a", "echo", input={"password": "hunter2"})])
    await listener.aclose()

    text = json.dumps([one.event.to_dict() for one in await published(bus)])
    assert "hunter2" not in text
    assert "secret" not in text


async def test_any_field_is_published_as_json(bus: EventBus):
    listener = BusListener(bus)
    fields = {
        "usage": Usage(requests=1),
        "error": "x" * 5000,
        "at": float("nan"),
        "thing": object(),
        "list": (1, {"a": 2}),
    }
    listener(Event("breaker.opened", fields=fields))
    await listener.aclose()

    (one,) = await published(bus)
    assert one.event.name == "breaker.opened"
    assert one.event.data == {
        "usage": Usage(requests=1).to_dict(),
        "error": "x" * 2000,
        "at": None,
        "thing": "object",
        "list": [1, {"a": 2}],
    }


async def test_another_listener_is_told_too(bus: EventBus):
    heard: list[Event] = []
    listener = BusListener(bus, then=heard.append)
    await run(listener, [Task("a", "echo")])
    await listener.aclose()

    assert [event.name for event in heard] == ["run.started", "task.started", "task.finished", "run.finished"]


async def test_a_run_does_not_wait_for_a_store_that_is_away(
    log: LogStore, bus: EventBus, caplog: pytest.LogCaptureFixture
):
    weather = Weather(log)
    weather.is_away = True
    listener = BusListener(EventBus(weather), capacity=3)  # type: ignore[arg-type]  # it has every method of a log store

    await run(listener, [Task("a", "echo"), Task("b", "echo")])

    assert listener.dropped == 3
    with caplog.at_level(logging.WARNING):
        await listener.aclose(0.01)
    assert listener.dropped == 6
    assert "events.dropped" in caplog.text
    assert await published(bus) == []


async def test_what_waited_while_the_store_was_away_is_published_once(log: LogStore, bus: EventBus):
    weather = Weather(log)
    weather.is_away = weather.fails_after = True
    listener = BusListener(EventBus(weather))  # type: ignore[arg-type]  # it has every method of a log store
    await run(listener, [Task("a", "echo")])

    weather.is_away = False
    await listener.aclose()

    assert len(await published(bus)) == 4
    assert listener.dropped == 0


async def test_events_may_come_from_other_threads(bus: EventBus):
    listener = BusListener(bus)
    listener(Event("run.started", "run-1"))
    threads = [threading.Thread(target=listener, args=[Event("run.finished", f"run-{n}")]) for n in range(5)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    await listener.aclose()

    assert len(await published(bus)) == 6


@pytest.mark.parametrize("capacity", [0, True, 1.5])
async def test_a_queue_has_room(bus: EventBus, capacity: Any):
    with pytest.raises(PolicyError, match="capacity"):
        BusListener(bus, capacity=capacity)


async def test_one_that_cannot_be_published_keeps_no_other_from_being(bus: EventBus):
    listener = BusListener(bus)
    bad: list[Event] = [
        Event("task." + "x" * 300, "run"),
        Event("task.started", "run", fields={"number": 10**5000}),
        Event("task.started", "run", fields={"large": [["x" * 2000] * 100] * 100}),
    ]
    odd = [
        Event("task.started", "run", fields={"half a character": "\udcff", "\udcff": 1}),
        Event("task.started", "a\nrun\x00"),
        Event("task.started", "run" * 1000),
    ]
    for event in (*bad, *odd, Event("task.started", "run", fields={"last": 1})):
        listener(event)

    await listener.aclose()

    found = await published(bus)
    assert len(found) == 4
    assert found[-1].event.data == {"workflow_id": "run", "last": 1}
    assert listener.dropped == 3


async def test_an_event_is_published_also_if_the_other_listener_fails(bus: EventBus):
    def fail(event: Event) -> None:
        raise LookupError

    listener = BusListener(bus, then=fail)
    with pytest.raises(LookupError):
        listener(Event("task.started", "run"))
    await listener.aclose()

    assert len(await published(bus)) == 1
