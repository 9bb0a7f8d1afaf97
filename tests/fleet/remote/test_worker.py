"""A worker takes what it has room for, and performs it as its run would."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from coterie import Policies, TaskContext, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.log import Message
from coterie._rules.pool_policy import PoolPolicy
from coterie.errors import CallAbandoned, Unavailable
from coterie.journal import Journal
from coterie.remote import Worker
from coterie.remote.queue import GROUP, QUEUE, queue_terms
from coterie.runtime import Runtime
from coterie.testing import FaultyLogStore, FaultyStateStore
from tests.fleet.remote.fleet import Fleet, eventually, until
from tests.fleet.remote.held import Held, held_call, submitted, waited


async def test_a_call_of_the_run_s_own_journal_is_recorded_there(fleet: Fleet):
    held = Held()
    held.release.set()
    call = held_call()
    async with fleet.worker(held.team):
        await submitted(fleet, call)
        result = await waited(fleet, call)

    assert (result.state, result.output) == ("succeeded", "t")
    assert "task/t" in await fleet.books.read("r")


async def test_what_the_journal_has_finished_is_not_done_again(fleet: Fleet):
    held = Held()
    held.release.set()
    first, second = held_call(), replace(held_call(), id="another")
    async with fleet.worker(held.team):
        for call in (first, second):
            await submitted(fleet, call)
            await waited(fleet, call)

    assert held.began == ["t"]


async def test_what_a_worker_left_behind_that_died_after_the_end_is_tidied_up(fleet: Fleet):
    held = Held()
    held.release.set()
    call = replace(held_call(), keeps="steps", idempotency_key="k")
    await submitted(fleet, call)
    taken = await fleet.log.take("tasks/held", GROUP, "dead", terms=queue_terms(15), limit=1)
    async with fleet.worker(held.team):
        # Another message of it, since the first is held by one who will never acknowledge it.
        message = replace(taken.deliveries[0].logged.message, id="again")
        await fleet.log.append("tasks/held", [message], retention=QUEUE)
        await waited(fleet, call)
        await fleet.books.write(f"call.{call.id}", {"claim/t": "{}"})
        await fleet.log.leave("tasks/held", GROUP, "dead", died=True)

        async def is_tidy() -> bool:
            return not (await fleet.books.runs(limit=9)).runs

        await eventually(is_tidy)

    assert held.began == ["t"]


async def test_a_message_that_is_no_call_is_a_dead_letter_with_its_reason(fleet: Fleet):
    texts = ["not JSON", json.dumps({"v": 1, "call": "nobody", "round": 1})]
    messages = [Message(str(n), "call", text) for n, text in enumerate(texts)]
    await fleet.log.append("tasks/held", messages, retention=QUEUE)

    async with fleet.worker(Held().team, once=True):
        await until(lambda: True)
        letters = await dead_letters(fleet, 2)

    assert "names no call" in letters[0]
    assert "nothing is known" in letters[1]


async def dead_letters(fleet: Fleet, count: int) -> list[str]:
    async with asyncio.timeout(10):
        while True:
            found = (await fleet.log.dead_letters("tasks/held", GROUP)).letters
            if len(found) >= count:
                return [letter.failures[-1].reason for letter in found]
            await asyncio.sleep(0.01)


async def test_a_call_of_another_type_than_its_queue_ends_with_a_reason(fleet: Fleet):
    call = held_call(agent_type="other")
    await submitted(fleet, call)
    message = (await fleet.log.read("tasks/other")).messages[0].message
    await fleet.log.append("tasks/held", [message], retention=QUEUE)

    async with fleet.worker(Held().team):
        with pytest.raises(CallAbandoned, match="queue of 'held'"):
            await waited(fleet, call)
        (letter,) = await dead_letters(fleet, 1)

    assert "'other'" in letter


async def test_a_call_whose_workers_die_again_and_again_is_given_up_and_can_be_requeued(fleet: Fleet):
    held, call = Held(), held_call()
    await submitted(fleet, call)
    terms = queue_terms(15.0)
    for number in range(5):
        taken = await fleet.log.take("tasks/held", GROUP, f"c{number}", terms=terms, limit=1)
        assert len(taken.deliveries) == 1
        await fleet.log.leave("tasks/held", GROUP, f"c{number}", died=True)

    async with fleet.worker(held.team):
        with pytest.raises(CallAbandoned, match="coterie dlq"):
            await waited(fleet, call)
        held.release.set()
        positions = [each.logged.position for each in (await fleet.log.dead_letters("tasks/held", GROUP)).letters]
        await fleet.log.requeue("tasks/held", GROUP, positions)
        await until(lambda: held.began == ["t"])

        async def ended() -> bool:
            return (await fleet.calls.look(call.id)).result is not None

        await eventually(ended)

    assert (await waited(fleet, call)).output == "t"


async def test_the_end_of_a_worker_that_was_replaced_changes_nothing(fleet: Fleet):
    stalled, quick = Held(capacity=1), Held()
    call = replace(held_call(), keeps="steps", idempotency_key="k")
    async with fleet.worker(stalled.team, worker_id="stalled"):
        await submitted(fleet, call)
        await until(lambda: stalled.began == ["t"])
        async with fleet.worker(quick.team, worker_id="quick"):
            (group,) = await fleet.log.groups("tasks/held")
            (holder,) = [each.name for each in group.consumers if each.held]
            await fleet.log.leave("tasks/held", GROUP, holder, died=True)
            await until(lambda: quick.began == ["t"])
            quick.release.set()
            result = await waited(fleet, call)
            stalled.release.set()
            await asyncio.sleep(0.1)
            status = await fleet.calls.look(call.id)

    assert (result, status.worker) == (status.result, "quick")


async def test_a_worker_that_takes_its_own_call_over_keeps_the_message_of_the_later_attempt(fleet: Fleet):
    held = Held(capacity=2)
    call = replace(held_call(), keeps="steps", idempotency_key="k")
    async with fleet.worker(held.team, lease_s=1.0) as worker:
        await submitted(fleet, call)
        await until(lambda: held.began == ["t"])
        (group,) = await fleet.log.groups("tasks/held")
        await fleet.log.leave("tasks/held", GROUP, group.consumers[0].name, died=True)
        # The earlier attempt is ended at a heartbeat.
        await until(lambda: held.began == ["t", "t"] and held.cancelled == ["t"] and worker.in_use == 1)
        await asyncio.sleep(0.1)
        (group,) = await fleet.log.groups("tasks/held")
        assert group.held == 1

        held.release.set()
        assert (await waited(fleet, call)).output == "t"


async def test_a_refusal_gives_the_task_back_and_holds_no_slot(fleet: Fleet):
    team = Team("worker")
    policy = Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=600), max_wait_s=600)
    team.protect("broken", policy)

    @team.agent("broken")
    async def broken(_: dict[str, Any]) -> None:
        raise ConnectionError("down")

    @team.agent("fine")
    async def fine(_: dict[str, Any]) -> str:
        return "fine"

    calls = [held_call(f"b{n}", "broken") for n in range(3)]
    async with fleet.worker(team, capacity=1) as worker:
        await submitted(fleet, *calls)
        assert (await waited(fleet, calls[0])).state == "failed"
        last = held_call("f", "fine")
        await submitted(fleet, last)

        assert (await waited(fleet, last)).output == "fine"
        await until(lambda: worker.in_use == 0)
        statuses = [await fleet.calls.look(call.id) for call in calls[1:]]

    assert [status.phase for status in statuses] == ["queued", "queued"]
    (group,) = await fleet.log.groups("tasks/broken")
    assert (group.held, group.dead) == (0, 0)


async def test_a_refusal_that_lasts_longer_than_the_policies_allow_is_the_end(fleet: Fleet):
    team = Team("worker")
    team.protect("broken", Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=600), max_wait_s=0.5))

    @team.agent("broken")
    async def broken(_: dict[str, Any]) -> None:
        raise ConnectionError("down")

    calls = [held_call(f"b{n}", "broken") for n in range(2)]
    async with fleet.worker(team):
        await submitted(fleet, calls[0])
        await waited(fleet, calls[0])
        await submitted(fleet, calls[1])
        result = await waited(fleet, calls[1])

    assert result.state == "failed"
    assert result.error.type == "BreakerOpen"


async def test_a_pool_of_the_whole_fleet_holds_for_all_workers_and_every_task_gets_its_turn(fleet: Fleet):
    at_work, most = [0], [0]
    team = Team("worker")
    team.protect("pooled", Policies(pool=PoolPolicy(), max_wait_s=60))

    @team.agent("pooled", capacity=1)
    async def pooled(_: dict[str, Any]) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        await asyncio.sleep(0.01)
        at_work[0] -= 1

    calls = [held_call(f"p{n}", "pooled") for n in range(6)]
    async with fleet.worker(team), fleet.worker(team):
        await submitted(fleet, *calls)
        ends = [(await waited(fleet, call)).state for call in calls]

    assert ends == ["succeeded"] * 6
    assert most == [1]


async def test_the_most_urgent_task_is_begun_first_whatever_its_type(fleet: Fleet):
    order: list[str] = []
    team = Team("worker")

    async def note(_: dict[str, Any], context: TaskContext) -> None:
        order.append(context.task_id)

    for name in ("one", "two", "three"):
        team.agent(name, capacity=4)(note)
    await submitted(
        fleet,
        held_call("old", "one"),
        held_call("urgent", "two", priority=50),
        held_call("later", "three"),
        held_call("more-urgent", "one", priority=60),
    )

    worker = Worker(await fleet.runtime(team), capacity=1, once=True)
    await asyncio.wait_for(worker.run(), 15)

    assert order == ["more-urgent", "urgent", "old", "later"]


async def test_a_worker_takes_no_more_than_its_agents_have_slots(fleet: Fleet):
    held = Held(capacity=2)
    calls = [held_call(f"t{n}") for n in range(5)]
    async with fleet.worker(held.team, capacity=10) as worker:
        await submitted(fleet, *calls)
        await until(lambda: len(held.began) == 2)
        (group,) = await fleet.log.groups("tasks/held")
        assert (group.held, worker.in_use) == (2, 2)

        held.release.set()
        assert [(await waited(fleet, call)).state for call in calls] == ["succeeded"] * 5


async def test_once_means_until_nothing_is_left(fleet: Fleet):
    held = Held(capacity=2)
    held.release.set()
    await submitted(fleet, *(held_call(f"t{n}") for n in range(7)))

    worker = Worker(await fleet.runtime(held.team), once=True)
    await asyncio.wait_for(worker.run(), 15)

    assert sorted(held.began) == [f"t{n}" for n in range(7)]


async def test_a_store_that_fails_for_a_moment_ends_no_worker(fleet: Fleet):
    held = Held()
    held.release.set()
    store = FaultyStateStore(fleet.store)
    runtime = Runtime(held.team, store=store, log=fleet.log, journal=Journal(fleet.books))
    worker = Worker(await fleet.held.enter_async_context(runtime))
    work = asyncio.create_task(worker.run())
    await until(lambda: worker.status()["ready"] is True)
    call = held_call()
    store.down = "refusing"
    await submitted(fleet, call)
    await asyncio.sleep(0.3)
    assert held.began == []
    store.down = None

    assert (await waited(fleet, call)).output == "t"
    worker.stop()
    await asyncio.wait_for(work, 10)


async def test_an_output_that_is_too_large_for_the_record_is_the_task_s_failure(fleet: Fleet):
    team = Team("worker")

    @team.agent("large")
    async def large(_: dict[str, Any]) -> str:
        return "x" * 300_000

    call = replace(held_call("t", "large"), keeps="steps", idempotency_key="k")
    async with fleet.worker(team):
        await submitted(fleet, call)
        result = await waited(fleet, call)

    assert result.state == "failed"
    assert result.error.type == "OversizedMessage"


async def test_what_was_taken_and_never_arrived_goes_back_at_once_and_disturbs_no_other_work(fleet: Fleet):
    held, first, second = Held(), held_call("first"), held_call("second")
    log = FaultyLogStore(fleet.log)
    runtime = Runtime(held.team, store=fleet.store, log=log, journal=Journal(fleet.books))
    worker = Worker(await fleet.held.enter_async_context(runtime))
    work = asyncio.create_task(worker.run())
    await submitted(fleet, first)
    await until(lambda: held.began == ["first"])
    log.script["take", "after"] = Unavailable("the answer is lost")
    await submitted(fleet, second)

    async def is_taken() -> bool:
        (group,) = await fleet.log.groups("tasks/held")
        return group.held == 2

    await eventually(is_taken)
    assert held.began == ["first"]
    log.script.clear()

    await until(lambda: held.began == ["first", "second"])
    assert held.cancelled == []
    held.release.set()
    ends = [(await waited(fleet, call)).output for call in (first, second)]
    worker.stop()
    await asyncio.wait_for(work, 10)

    assert ends == ["first", "second"]
    (group,) = await fleet.log.groups("tasks/held")
    assert (group.held, group.unread, group.dead) == (0, 0, 0)
