"""A run that is undone: its steps, and what undoes them, are performed elsewhere like all other tasks."""

from __future__ import annotations

from typing import Any

import pytest

from coterie import Compensation, Plan, Task, TaskContext, Team
from coterie.errors import StepFailed
from tests.fleet.remote.fleet import Fleet

PLAN = Plan(
    "booking",
    [
        Task("book", "booker", compensation=Compensation("canceller")),
        Task("pay", "payer", depends_on=("book",)),
    ],
)


def agents(done: list[tuple[str, str]]) -> Team:
    """Of whom one fails."""
    team = Team("agents")

    @team.agent("booker")
    async def book(_: dict[str, Any], context: TaskContext) -> str:
        await context.publish("com.example.booked")
        done.append(("book", context.idempotency_key))
        return "room 7"

    @team.agent("canceller")
    async def cancel(_: dict[str, Any], context: TaskContext) -> None:
        await context.publish("com.example.cancelled")
        done.append((str(await context.output("book")), context.idempotency_key))

    @team.agent("payer")
    async def pay(_: dict[str, Any]) -> None:
        raise StepFailed("no money")

    return team


@pytest.mark.parametrize("journal", [True, False])
async def test_a_run_is_undone_by_workers_as_it_is_here(fleet: Fleet, *, journal: bool):
    here: list[tuple[str, str]] = []
    there: list[tuple[str, str]] = []
    caller = agents([])
    for name in ("booker", "canceller", "payer"):
        caller.remote(name)
    alone = Fleet(held=fleet.held)
    runtime = await alone.runtime(agents(here), journal=journal)
    expected = await runtime.orchestrator.execute_workflow(PLAN, workflow_id="r", correlation_id="order-1")
    async with fleet.worker(agents(there)):
        runtime = await fleet.runtime(caller, journal=journal)
        found = await runtime.orchestrator.execute_workflow(PLAN, workflow_id="r", correlation_id="order-1")

    assert {end.task_id: (end.state, end.error) for end in found} == {
        end.task_id: (end.state, end.error) for end in expected
    }
    assert [what for what, _ in there] == ["book", "room 7"]
    assert there == here
    events = [each.event async for each in runtime.bus.replay("com.example.*")]
    assert [(each.type, each.correlation_id) for each in events] == [
        ("com.example.booked", "order-1"),
        ("com.example.cancelled", "order-1"),
    ]
