"""Whoever sends an event to a machine, in whatever process: it is taken once, or refused and nothing has changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie.errors import (
    IllegalTransition,
    Misuse,
    StepFailed,
    Unavailable,
    UnknownRun,
)
from coterie.journal import Journal
from coterie.machine import StateMachine
from coterie.machine_run import StateMachineRun, execute_machine
from coterie.state import Go, State
from coterie.stores.memory import MemoryStateStore
from tests.journal.machine.conftest import RUN, Desk
from tests.journal.machine.samples import DONE, LOST, ONCE, REVIEW, Failing, draft


async def test_an_event_that_is_not_taken_is_refused_and_changes_nothing(desk: Desk):
    desk.start(REVIEW)
    await desk.until("review")
    before = await desk.store.read(RUN)

    with pytest.raises(IllegalTransition) as caught:
        await desk.run.send("publish", who="ann")
    with pytest.raises(IllegalTransition, match="it was meant for visit 1"):
        await desk.run.send("approve", visit=1)

    assert await desk.store.read(RUN) == before
    assert str(caught.value) == (
        "the machine 'review' is in the state 'review' (visit 2) and does not take the event 'publish': "
        "no transition is on it; it takes: 'approve', 'reject'; the event changed nothing"
    )
    error = caught.value
    assert (error.event, error.state, error.visit, error.events) == ("publish", "review", 2, ("approve", "reject"))
    assert isinstance(error, Misuse)


async def test_a_machine_that_has_ended_takes_no_event(desk: Desk):
    await desk.execute(ONCE)

    with pytest.raises(IllegalTransition, match="it has ended; it takes: nothing;"):
        await desk.run.send("approve")
    assert not await desk.run.cancel()


async def test_an_event_sent_twice_is_taken_once(desk: Desk):
    desk.start(REVIEW)
    await desk.until("review")
    other = StateMachineRun(desk.journal, RUN)

    first = await desk.run.send("reject", event_id="mail-17", who="ann")
    await desk.until("review", visit=4)
    again = await other.send("reject", event_id="mail-17", who="ann")

    assert again == first
    assert (first.visit, first.state, first.to, first.at) == (2, "review", "draft", desk.clock.now())
    assert (await desk.run.status()).visit == 4
    with pytest.raises(Misuse, match="the event id 'mail-17' is that of the event 'reject'"):
        await other.send("approve", event_id="mail-17")


async def test_of_twenty_who_decide_at_once_one_does(desk: Desk):
    desk.start(REVIEW)
    await desk.until("review")
    people = [StateMachineRun(desk.journal, RUN) for _ in range(20)]

    decisions = [
        person.send("approve" if number % 2 else "reject", who=str(number), visit=2)
        for number, person in enumerate(people)
    ]
    answers = await asyncio.gather(*decisions, return_exceptions=True)

    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert sum(isinstance(answer, IllegalTransition) for answer in answers) == 19


async def test_an_event_ends_the_action_that_runs(desk: Desk):
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(_: Any, __: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    desk.work = work
    states = [State("a", action=draft(), transitions=[Go("done"), Go("lost", "stop")]), DONE, LOST]
    run = desk.start(StateMachine("m", states, initial="a"))
    await begun.wait()
    await desk.run.send("stop", who="ann")
    result = await run

    assert (result.state, result.status) == ("lost", "failed")
    assert ended.is_set()


async def test_a_cancelled_machine_ends_its_action_and_says_so(desk: Desk):
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(_: Any, __: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    desk.work = work
    run = desk.start(ONCE)
    await begun.wait()

    assert await desk.run.cancel(who="ann")
    result = await run

    assert (result.status, result.exit_code, ended.is_set()) == ("cancelled", 130, True)
    assert [(visit.trigger, visit.who, visit.to) for visit in await desk.run.history()] == [("cancelled", "ann", None)]
    with pytest.raises(StepFailed, match="ended cancelled in the state 'a'"):
        result.raise_for_status()


async def test_whoever_only_waits_is_told_of_the_end(desk: Desk):
    desk.start(REVIEW)
    await desk.until("review")
    waiting = asyncio.create_task(desk.run.wait())
    await asyncio.sleep(0)
    await StateMachineRun(desk.journal, RUN).send("approve")

    ended = await waiting

    assert (ended.state, ended.status) == ("done", "succeeded")


async def test_a_state_store_that_is_shared_wakes_a_machine_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    from coterie.journal import bell
    from coterie.machine_run import handle

    states = MemoryStateStore()
    orchestrator = desk.orchestrator(store=states)
    run = asyncio.create_task(execute_machine(orchestrator, REVIEW, workflow_id=RUN))
    desk.running.append(run)
    # From now on nobody looks by himself, nor hears of this process.
    monkeypatch.setattr(handle, "LOOK_S", 3600.0)
    await desk.until("review")
    await asyncio.sleep(0.05)
    monkeypatch.setattr(bell, "_heard", {})

    await StateMachineRun(desk.journal, RUN, store=states).send("approve")

    async with asyncio.timeout(30):
        assert (await run).state == "done"


async def test_a_state_store_that_fails_only_makes_it_slower(desk: Desk):
    class Deaf(MemoryStateStore):
        async def publish(self, channel: str, message: str) -> None:
            raise Unavailable("down")

        async def subscribe(self, channel: str, notice: Any) -> None:
            raise Unavailable("down")

    states = Deaf()
    run = asyncio.create_task(execute_machine(desk.orchestrator(store=states), REVIEW, workflow_id=RUN))
    desk.running.append(run)
    await desk.until("review")
    await StateMachineRun(desk.journal, RUN, store=states).send("approve")

    assert (await run).state == "done"


async def test_whoever_waits_looks_from_time_to_time(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    from coterie.journal import bell

    desk.start(REVIEW)
    await desk.until("review")
    waiting = asyncio.create_task(desk.run.wait())
    await asyncio.sleep(0.02)
    # As in another process, where no bell of this one is heard.
    monkeypatch.setattr(bell, "_heard", {})
    await StateMachineRun(desk.journal, RUN).send("approve")

    assert (await waiting).state == "done"


async def test_an_unknown_run_is_told_as_such(desk: Desk):
    unknown = StateMachineRun(desk.journal, "nobody")

    for ask in (unknown.status(), unknown.send("approve"), unknown.cancel(), unknown.history(), unknown.wait()):
        with pytest.raises(UnknownRun, match="there is no run 'nobody' in the journal 'memory://'"):
            await ask


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event": "a b"}, "the event 'a b' is not a usable name"),
        ({"event": "a", "payload": {1, 2}}, "the payload is a set, not JSON"),
        ({"event": "a", "payload": "x" * 70_000}, "the payload of 'a' has over 65536 bytes"),
        ({"event": "a", "who": "x" * 201}, "who is 'xxx"),
        ({"event": "a", "event_id": "x" * 201}, "event_id is 'xxx"),
        ({"event": "a", "who": "ann\x1b[2J"}, "who holds control characters"),
    ],
)
async def test_a_sending_that_cannot_be_kept_is_refused(desk: Desk, arguments: dict[str, Any], message: str):
    with pytest.raises(Misuse, match=message):
        await desk.run.send(**arguments)


@pytest.mark.parametrize("who", ["x" * 201, "ann\x1b[2J"])
async def test_who_cancels_has_a_name_that_can_be_kept_and_shown(desk: Desk, who: str):
    desk.start(REVIEW)
    await desk.until("review")

    with pytest.raises(Misuse, match="who "):
        await desk.run.cancel(who=who)

    assert (await desk.run.status()).status is None


async def test_an_event_whose_answer_was_lost_is_sent_again_without_harm(desk: Desk):
    desk.start(REVIEW)
    await desk.until("review")
    store = Failing(desk)
    person = StateMachineRun(Journal(store), RUN)  # type: ignore[arg-type]  # a store in all but name
    store.fail = lambda call, paths: "after" if call == "change" else None

    with pytest.raises(Unavailable):
        await person.send("reject", event_id="r1", who="ann")
    store.fail = lambda call, paths: None
    receipt = await person.send("reject", event_id="r1", who="ann")

    assert (receipt.visit, receipt.to) == (2, "draft")
    await desk.until("review", visit=4)
    assert [visit.event_id for visit in await desk.run.history()] == ["", "r1", ""]
