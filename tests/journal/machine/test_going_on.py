"""Whoever runs a machine may be interrupted, paused or doubled, and its journal may fail: it goes on where it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie.errors import (
    IllegalTransition,
    MachineError,
    PlanChanged,
    Unavailable,
)
from coterie.journal import Intent, Journal
from coterie.machine import StateMachine
from coterie.machine_run import StateMachineRun, execute_machine
from coterie.state import Go, State
from tests.journal.machine.conftest import RUN, Desk
from tests.journal.machine.samples import DONE, LOST, ONCE, REVIEW, Failing, draft


async def test_an_interrupted_run_goes_on_where_it_was(desk: Desk):
    begun = asyncio.Event()

    async def work(_: Any, __: Any) -> Any:
        begun.set()
        if len(desk.seen) == 1:
            await asyncio.sleep(3600)

    desk.work = work
    run = desk.start(ONCE)
    await begun.wait()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert run.cancelled()
    assert (await desk.run.status()).phase == "acting"

    result = await desk.execute(ONCE)

    assert (result.status, result.visit, len(desk.seen)) == ("succeeded", 2, 2)
    assert desk.contexts[0].idempotency_key == desk.contexts[1].idempotency_key


async def test_a_machine_that_is_over_is_not_run_again(desk: Desk):
    first = await desk.execute(ONCE)

    assert await desk.execute(ONCE) == first
    assert len(desk.seen) == 1


async def test_two_who_run_one_machine_perform_each_action_once(desk: Desk):
    async def work(_: Any, __: Any) -> Any:
        await asyncio.sleep(0.02)

    desk.work = work
    states = [State("a", action=draft(), max_visits=5, transitions=[Go("a"), Go("done", "exhausted")]), DONE]
    machine = StateMachine("m", states, initial="a")

    results = await asyncio.gather(*(desk.start(machine) for _ in range(3)))

    assert {result.status for result in results} == {"succeeded"}
    assert len(desk.seen) == 5


async def test_who_was_paused_while_another_took_over_goes_on_with_what_that_one_does(desk: Desk):
    begun, release = [asyncio.Event(), asyncio.Event()], [asyncio.Event(), asyncio.Event()]

    async def work(_: Any, __: Any) -> Any:
        number = len(desk.seen) - 1
        begun[number].set()
        await release[number].wait()
        return f"by the {('first', 'second')[number]}"

    desk.work = work
    first = desk.start(ONCE)
    await begun[0].wait()
    # Longer than the lease, and no heartbeat came through.
    desk.clock.advance(31)
    second = desk.start(ONCE)
    await begun[1].wait()
    release[0].set()
    await asyncio.sleep(0.05)
    assert not first.done()
    release[1].set()

    assert await first == await second
    assert await desk.run.output("a") == "by the second"
    assert len(desk.seen) == 2


async def test_stopping_the_orchestrator_leaves_the_machine_where_it_is(desk: Desk):
    begun = asyncio.Event()

    async def work(_: Any, __: Any) -> None:
        begun.set()
        await asyncio.sleep(3600)

    desk.work = work
    orchestrator = desk.orchestrator()
    run = asyncio.create_task(execute_machine(orchestrator, ONCE, workflow_id=RUN))
    await begun.wait()

    await orchestrator.stop(grace_s=10)
    await asyncio.gather(run, return_exceptions=True)

    assert run.cancelled()
    assert (await desk.run.status()).phase == "acting"


async def test_the_parameters_are_those_of_the_beginning(desk: Desk):
    run = desk.start(REVIEW, params={"topic": "birds"})
    await desk.until("review")
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)

    desk.start(REVIEW, params={"topic": "fish"})
    await desk.run.send("reject")
    await desk.until("review", visit=4)

    assert [seen["topic"] for seen in desk.seen] == ["birds", "birds"]


async def test_a_run_goes_on_with_another_definition_only_where_that_is_allowed(desk: Desk):
    run = desk.start(REVIEW)
    await desk.until("review")
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    person = StateMachineRun(desk.journal, RUN)
    await person.status()
    shorter = [State("review", transitions=[Go("done", "publish"), Go("lost", "reject")]), DONE, LOST]
    changed = StateMachine("review", shorter, initial="review")

    with pytest.raises(PlanChanged):
        await desk.execute(changed)
    going_on = desk.start(changed, intent=Intent(allow_changes=True))
    await asyncio.sleep(0.05)
    # Who knew the old one learns of the new one, also by looking.
    assert (await person.status()).events == ("publish", "reject")
    with pytest.raises(IllegalTransition, match="it takes: 'publish', 'reject'"):
        await person.send("approve")
    await person.send("publish")

    assert (await going_on).state == "done"


async def test_a_definition_without_the_state_that_the_machine_is_in_is_refused(desk: Desk):
    run = desk.start(REVIEW)
    await desk.until("review")
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)

    with pytest.raises(MachineError, match="is in the state 'review', which its new definition has not"):
        await desk.execute(ONCE, intent=Intent(allow_changes=True))


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_action_whose_end_could_not_be_told_is_not_done_again(desk: Desk, when: str):
    store = Failing(desk)
    store.fail = lambda call, paths: when if call == "change" and "machine/visit/1" in paths else None
    journal = Journal(store)  # type: ignore[arg-type]  # a store in all but name

    with pytest.raises(Unavailable):
        await execute_machine(desk.orchestrator(journal=journal), ONCE, workflow_id=RUN)
    result = await desk.execute(ONCE)

    assert (result.status, len(desk.seen)) == ("succeeded", 1)


async def test_a_journal_that_is_away_for_a_while_ends_no_action_and_no_waiting(desk: Desk):
    store, away, failed = Failing(desk), asyncio.Event(), asyncio.Event()

    def fail(call: str, paths: tuple[str, ...]) -> str | None:
        if away.is_set() and paths == ("machine",):
            failed.set()
            return "before"
        return None

    async def work(_: Any, __: Any) -> None:
        away.set()
        await failed.wait()
        away.clear()

    store.fail = fail
    desk.work = work
    orchestrator = desk.orchestrator(journal=Journal(store))  # type: ignore[arg-type]  # a store in all but name
    run = asyncio.create_task(execute_machine(orchestrator, REVIEW, workflow_id=RUN))
    desk.running.append(run)
    await desk.until("review")
    failed.clear()
    away.set()
    await failed.wait()
    away.clear()
    await desk.run.send("approve")

    assert (await run).state == "done"
    assert len(desk.seen) == 1
