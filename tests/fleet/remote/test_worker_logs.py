"""What a worker logs and tells says which run, task and item it is about."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from coterie import ForEach, Plan, Policies, Retry, Task, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie.events import Event
from coterie.telemetry.log_lines import JsonFormatter
from tests.fleet.remote.fleet import Fleet, until
from tests.fleet.remote.held import held_call, submitted

PLAN = Plan("p", [Task("each", "frail", foreach=ForEach(items=[{"id": "x"}, {"id": "y"}], key="/id"))])


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler for programs writes."""
    text, logger = io.StringIO(), logging.getLogger("coterie")
    handler, before = logging.StreamHandler(text), logger.level
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield text
    logger.setLevel(before)
    logger.removeHandler(handler)


def told(written: io.StringIO, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in written.getvalue().splitlines()]
    return [each for each in found if each.get("event") == event]


def frail() -> Team:
    """Its first attempt at each item fails."""
    team = Team("frail")

    @team.agent("frail", retry=Retry(max_attempts=2, base_s=0.0), capacity=2)
    async def perform(_: Any, context: Any) -> int:
        if context.attempt == 1:
            raise ConnectionError("once")
        return 1

    return team


def caller() -> Team:
    team = Team("caller")
    team.remote("frail")
    return team


@pytest.mark.parametrize("event", ["task.begun", "task.retrying", "task.finished"])
async def test_records_of_a_worker_carry_run_task_and_item(fleet: Fleet, written: io.StringIO, event: str):
    async with fleet.worker(frail()):
        runtime = await fleet.runtime(caller())
        await runtime.orchestrator.execute_workflow(PLAN, workflow_id="r")

    records = told(written, event)
    assert {(each["run"], each["task"]) for each in records} == {("r", "each")}
    assert sorted(each["item"] for each in records) == ["x", "y"]
    assert all(f"each '{each['item']}'" in each["message"] for each in records)


async def test_a_refusal_s_record_carries_run_and_task(fleet: Fleet, written: io.StringIO):
    team = Team("worker")
    team.protect("held", Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=600), max_wait_s=600))

    @team.agent("held")
    async def broken(_: Any) -> None:
        raise ConnectionError("down")

    async with fleet.worker(team):
        await submitted(fleet, held_call("a"), held_call("b"))
        await until(lambda: bool(told(written, "call.refused")))

    (record,) = told(written, "call.refused")
    assert record["run"] == "r"
    assert record["task"] in ("a", "b")


async def test_events_of_a_remote_item_name_it(fleet: Fleet):
    async with fleet.worker(frail()):
        runtime = await fleet.runtime(caller())
        await runtime.orchestrator.execute_workflow(PLAN, workflow_id="r")

    events = [recorded.event async for recorded in runtime.bus.replay()]
    of_tasks = [event for event in events if event.name.startswith("task.")]
    assert {event.name for event in of_tasks} >= {"task.created", "task.assigned", "task.completed"}
    assert sorted({event.data.get("item") for event in of_tasks}) == ["'x'", "'y'"]


async def test_a_listener_is_told_which_item_is_tried_again(fleet: Fleet):
    heard: list[Event] = []
    runtime = await fleet.runtime(frail(), on_event=heard.append)

    await asyncio.wait_for(runtime.orchestrator.execute_workflow(PLAN, workflow_id="r"), 20)

    assert sorted(event.fields["item"] for event in heard if event.name == "task.retrying") == ["'x'", "'y'"]
