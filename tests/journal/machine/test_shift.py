"""A process that does not wait in a machine: it goes as far as it can, and comes back for what it is called for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie import Orchestrator, Policies, Runtime, Team, sync_machine
from coterie.breaker import BreakerPolicy, CircuitBreaker
from coterie.errors import BreakerOpen, ClaimedElsewhere
from coterie.journal import Journal
from coterie.machine import StateMachine
from coterie.machine_run import MachineStatus, Shift, execute_machine
from coterie.state import Action, Go, State
from coterie.stores.journal_memory import MemoryJournalStore
from tests.journal.machine.conftest import PATIENCE_S, RUN, Desk
from tests.journal.machine.samples import DONE, LOST, ONCE, REVIEW


async def test_it_comes_back_where_only_an_event_or_a_time_out_leads_on(desk: Desk):
    status = await desk.execute(REVIEW, shift=Shift())

    assert (status.state, status.phase, status.status, status.events) == (
        "review",
        "waiting",
        None,
        ("approve", "reject"),
    )
    assert status.timeout_in_s == 3600.0


async def test_a_turn_after_an_event_goes_on_to_the_end(desk: Desk):
    await desk.execute(REVIEW, shift=Shift())
    await desk.run.send("approve", who="ann", visit=2)

    status = await desk.execute(REVIEW, shift=Shift())

    assert (status.status, status.state) == ("succeeded", "done")


async def test_a_turn_after_a_time_out_was_due_takes_it(desk: Desk):
    await desk.execute(REVIEW, shift=Shift())
    desk.clock.advance(3601)

    status = await desk.execute(REVIEW, shift=Shift())

    assert (status.status, status.state) == ("failed", "lost")


async def test_a_state_that_waits_after_its_action_is_waited_in_too(desk: Desk):
    stays = StateMachine(
        "stays",
        [State("a", action=Action("worker"), transitions=[Go("done", "approve"), Go("lost", "failed")]), DONE, LOST],
        initial="a",
    )

    status = await desk.execute(stays, shift=Shift())

    assert (status.state, status.phase, len(desk.seen)) == ("a", "waiting", 1)


async def test_an_action_that_another_process_performs_is_not_waited_for(desk: Desk):
    begun, over = asyncio.Event(), asyncio.Event()

    async def work(_: Any, __: Any) -> None:
        begun.set()
        await over.wait()

    desk.work = work
    other = desk.start(ONCE)
    await begun.wait()

    with pytest.raises(ClaimedElsewhere, match="is at work on"):
        await desk.execute(ONCE, shift=Shift())

    over.set()
    assert (await other).status == "succeeded"


async def as_soon_as_let_through(orchestrator: Orchestrator) -> MachineStatus:
    while True:
        try:
            return await execute_machine(orchestrator, ONCE, workflow_id=RUN, shift=Shift())
        except BreakerOpen:
            await asyncio.sleep(0.01)


async def test_a_refused_action_is_told_to_whoever_waits_elsewhere_and_the_machine_stays(desk: Desk):
    policy = BreakerPolicy()
    team = Team("desk", policies={"worker": Policies(breaker=policy)})

    @team.agent("worker")
    async def work(_: dict[str, Any]) -> None:
        return None

    async with Runtime(team, store="memory://", journal=desk.journal) as runtime:
        breaker = CircuitBreaker("worker", policy, store=runtime.orchestrator.pipeline.store)
        await breaker.force_open()

        with pytest.raises(BreakerOpen):
            await execute_machine(runtime.orchestrator, ONCE, workflow_id=RUN, shift=Shift())

        assert (await desk.run.status()).phase == "acting"
        await breaker.force_closed()
        async with asyncio.timeout(PATIENCE_S):
            status = await as_soon_as_let_through(runtime.orchestrator)
        await breaker.aclose()
    assert status.status == "succeeded"


def test_the_blocking_twins_do_the_same():
    team = Team("desk")

    @team.agent("worker")
    async def work(task_input: dict[str, Any]) -> Any:
        return {"text": task_input["topic"]}

    journal = Journal(MemoryJournalStore())
    orchestrator = Orchestrator(team, journal=journal)
    waits = sync_machine.execute_machine(orchestrator, REVIEW, workflow_id=RUN, shift=Shift())
    run = sync_machine.StateMachineRun(journal, RUN)

    receipt = run.send("approve", who="ann", visit=waits.visit)

    ended = sync_machine.execute_machine(orchestrator, REVIEW, workflow_id=RUN)
    assert (waits.phase, receipt.to, ended.status, run.status().status) == ("waiting", "done", "succeeded", "succeeded")
    assert [visit.trigger for visit in run.history()] == ["succeeded", "approve"]
    assert run.output("draft") == {"text": "agents"}
    assert run.wait().state == "done"
    assert run.cancel() is False
