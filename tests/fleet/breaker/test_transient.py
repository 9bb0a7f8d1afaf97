"""Processes that make few calls: asked before, told after, and resident once they stay."""

from __future__ import annotations

import asyncio

import pytest

from coterie.breaker import BreakerPolicy, Pace
from coterie.errors import BreakerOpen
from tests.fleet.breaker.world import Broken, Fleet, Held, end_of, failures, until, work


@pytest.mark.parametrize("residence", ["auto", "transient"])
async def test_a_call_is_one_command_before_and_one_after(fleet: Fleet, residence: str):
    breaker = fleet.join(residence=residence)

    assert await breaker.call(work) == "done"

    assert fleet.stores[0].calls == [("update", "breaker/agent")] * 2
    assert breaker.get_state().store == "transient"
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_what_was_told_is_stored_when_the_call_returns(fleet: Fleet):
    for number in range(1, 5):
        breaker = fleet.join(residence="transient")
        await failures(breaker, 1)
        state, _ = await fleet.stores[0].read("breaker/agent")
        assert state is not None
        assert state["counted"] == number

    last = fleet.join(residence="transient")
    await failures(last, 1)

    refused = await end_of(fleet.join(residence="auto").call(work))
    assert isinstance(refused, BreakerOpen)
    assert fleet.names() == ["breaker.opened"]


async def test_a_refusal_is_asked_each_time(memory: Fleet):
    breaker, other = memory.join(residence="transient"), memory.join()
    await failures(breaker, 5)
    assert isinstance(await end_of(breaker.call(work)), BreakerOpen)

    await other.reset()

    assert await breaker.call(work) == "done"


async def test_neutral_ends_are_not_told(memory: Fleet):
    breaker, agent = memory.join(residence="transient"), Held()
    call = asyncio.ensure_future(breaker.call(agent))
    await until(lambda: agent.running == 1, "running")

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert memory.stores[0].calls == [("update", "breaker/agent")]


async def test_a_trial_call_is_one_command_before_and_one_after(memory: Fleet):
    breaker = memory.join(BreakerPolicy(jitter=0.0, half_open_max_calls=1, success_threshold=1), residence="transient")
    await failures(breaker, 5)
    memory.clock.advance(60)
    memory.forget_commands()

    assert await breaker.call(work) == "done"

    assert memory.commands() == 2
    assert memory.names() == ["breaker.opened", "breaker.half_opened", "breaker.closed"]


async def test_who_stays_becomes_resident(memory: Fleet):
    breaker = memory.join(residence="auto", pace=Pace(resident_after_s=3.0, flush_s=3600.0, reconcile_s=3600.0))
    await breaker.call(work)
    assert breaker.get_state().store == "transient"
    memory.clock.advance(3)
    await breaker.call(work)
    assert breaker.get_state().store == "resident"
    memory.forget_commands()

    await breaker.call(work)

    assert memory.commands() == 0


async def test_who_says_transient_never_becomes_resident(memory: Fleet):
    breaker = memory.join(residence="transient")
    await breaker.call(work)
    memory.clock.advance(1000)

    await breaker.call(work)

    assert breaker.get_state().store == "transient"


async def test_a_call_that_began_before_the_upgrade_is_told(memory: Fleet):
    breaker, agent = memory.join(residence="auto"), Held(ok=False)
    call = asyncio.ensure_future(end_of(breaker.call(agent)))
    await until(lambda: agent.running == 1, "running")
    memory.clock.advance(10)
    await breaker.refresh()
    assert breaker.get_state().store == "resident"

    agent.let_go.set()
    assert isinstance(await call, Broken)

    await breaker.refresh()
    assert breaker.get_state().failures == 1


async def test_forced_open_by_hand_it_refuses_before_the_store_has_confirmed(memory: Fleet):
    breaker = memory.join(residence="transient")
    await breaker.call(work)
    memory.stores[0].gate.clear()

    confirmed = breaker.force_open()
    assert isinstance(await end_of(breaker.call(work)), BreakerOpen)

    memory.stores[0].gate.set()
    await confirmed
    assert isinstance(await end_of(breaker.call(work)), BreakerOpen)
