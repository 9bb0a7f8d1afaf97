"""Half open, in the whole fleet: no more calls than permits, and every permit comes back."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from coterie._rules.breaker import look
from coterie.breaker import BreakerPolicy, CircuitBreaker, Pace
from coterie.errors import BreakerOpen
from tests.fleet.breaker.world import Broken, Fleet, Held, end_of, failures, until, work

NEVER = Pace(flush_s=3600.0, reconcile_s=3600.0)
THREE = BreakerPolicy(jitter=0.0, half_open_max_calls=3, success_threshold=3, probe_timeout_s=10.0)
ONE = BreakerPolicy(jitter=0.0, half_open_max_calls=1, success_threshold=1, probe_timeout_s=10.0)


async def opened(fleet: Fleet, policy: BreakerPolicy, count: int) -> list[CircuitBreaker]:
    """Breakers whose open time is just over, and that all know of it."""
    breakers = [fleet.join(policy, pace=NEVER) for _ in range(count)]
    for breaker in breakers:
        await breaker.refresh()
    await failures(breakers[0], 5)
    await fleet.seen_by_all("open")
    fleet.clock.advance(60)
    fleet.forget_commands()
    return breakers


def _most_ended(calls: list[asyncio.Task[object]], count: int) -> bool:
    return sum(call.done() for call in calls) >= count


@pytest.mark.parametrize("ok", [True, False], ids=["healthy", "broken"])
async def test_of_64_callers_in_4_processes_exactly_the_permits_run(fleet: Fleet, ok: bool):
    breakers, agent = await opened(fleet, THREE, 4), Held(ok=ok)

    calls = [asyncio.ensure_future(end_of(breaker.call(agent))) for breaker in breakers for _ in range(16)]
    await until(lambda: sum(call.done() for call in calls) == 61, "61 refusals")
    assert agent.running == 3
    agent.let_go.set()
    ends = await asyncio.gather(*calls)

    assert (agent.began, agent.most) == (3, 3)
    assert sum(isinstance(end, BreakerOpen) for end in ends) == 61
    await fleet.seen_by_all("closed" if ok else "open")
    assert fleet.names() == ["breaker.opened", "breaker.half_opened", "breaker.closed" if ok else "breaker.opened"]


async def test_64_callers_of_one_process_ask_no_oftener_than_there_are_permits(fleet: Fleet):
    (breaker,), agent = await opened(fleet, THREE, 1), Held()

    calls = [asyncio.ensure_future(end_of(breaker.call(agent))) for _ in range(64)]
    await until(partial(_most_ended, calls, 61), "61 refusals")

    assert fleet.commands() == 3
    agent.let_go.set()
    await asyncio.gather(*calls)


async def test_waves_of_callers_never_outnumber_the_permits(memory: Fleet):
    """The log is the agent's own: at every instant, running + ended calls of a round <= permits."""
    breakers, agent = await opened(memory, THREE, 4), Held()

    for settled in range(3):
        calls = [asyncio.ensure_future(end_of(breaker.call(agent))) for breaker in breakers for _ in range(8)]
        await until(partial(_most_ended, calls, 29 + settled), "refusals")
        assert agent.running + settled <= 3
        ran = [call for call in calls if not call.done()]
        for call in ran[:-1]:
            call.cancel()
        await asyncio.gather(*ran[:-1], return_exceptions=True)
        agent.let_go.set()
        await asyncio.gather(*calls, return_exceptions=True)
        agent.let_go.clear()
        # Permits that came back are known to those who look.
        for breaker in breakers:
            await breaker.refresh()

    await memory.seen_by_all("closed")


async def test_a_probe_costs_one_command_and_its_result_another(fleet: Fleet):
    (breaker,) = await opened(fleet, THREE, 1)

    await breaker.call(work)

    assert [what for what, _ in fleet.asked()] == ["update", "update"]


async def test_refusals_cost_nothing_while_it_is_known_that_the_permits_are_out(fleet: Fleet):
    breakers, agent = await opened(fleet, THREE, 2), Held()
    calls = [asyncio.ensure_future(breakers[0].call(agent)) for _ in range(3)]
    await until(lambda: agent.running == 3, "3 probes")
    assert fleet.commands() == 3

    for _ in range(50):
        refused = await end_of(breakers[0].call(work))
        assert isinstance(refused, BreakerOpen)
        assert refused.state == "half_open"
        assert 0 < refused.retry_after_s <= 10
    assert fleet.commands() == 3

    # The other process has to be told once.
    for _ in range(50):
        assert isinstance(await end_of(breakers[1].call(work)), BreakerOpen)
    assert fleet.commands() == 4
    agent.let_go.set()
    await asyncio.gather(*calls)


@pytest.mark.parametrize("when", ["while asking", "while running"])
async def test_a_cancelled_caller_gives_its_permit_back(fleet: Fleet, when: str):
    (breaker,), agent = await opened(fleet, ONE, 1), Held()
    if when == "while asking":
        fleet.stores[0].gate.clear()
    call = asyncio.ensure_future(breaker.call(agent))
    if when == "while asking":
        await until(lambda: fleet.commands() == 1, "asked")
    else:
        await until(lambda: agent.running == 1, "running")

    call.cancel()
    await asyncio.sleep(0)
    fleet.stores[0].gate.set()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert agent.began == (0 if when == "while asking" else 1)
    assert await breaker.call(work) == "done"
    assert breaker.get_state().state == "closed"


async def test_cancelled_twice_it_ends_at_once_and_the_permit_still_comes_back(memory: Fleet):
    (breaker,), agent = await opened(memory, ONE, 1), Held()
    call = asyncio.ensure_future(breaker.call(agent))
    await until(lambda: agent.running == 1, "running")
    memory.stores[0].gate.clear()

    call.cancel()
    await until(lambda: agent.running == 0, "ended")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    memory.stores[0].gate.set()
    assert await breaker.call(work) == "done"


async def test_a_hanging_store_holds_no_cancelled_caller_for_long(memory: Fleet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("coterie.breaker.shared.REPORT_S", 0.01)
    (breaker,), agent = await opened(memory, ONE, 1), Held()
    call = asyncio.ensure_future(breaker.call(agent))
    await until(lambda: agent.running == 1, "running")
    memory.stores[0].gate.clear()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_permit_that_nobody_settles_expires(fleet: Fleet):
    (dead, alive), agent = await opened(fleet, ONE, 2), Held()
    lost = asyncio.ensure_future(end_of(dead.call(agent)))
    await until(lambda: agent.running == 1, "running")
    refused = await end_of(alive.call(work))
    assert isinstance(refused, BreakerOpen)

    fleet.clock.advance(refused.retry_after_s)

    assert await alive.call(work) == "done"
    await fleet.seen_by_all("closed")
    agent.ok = False
    agent.let_go.set()
    assert isinstance(await lost, Broken)
    await dead.refresh()
    assert dead.get_state().state == "closed"
    assert dead.get_state().failures == 0


@pytest.mark.parametrize("mode", ["consecutive", "count", "time"])
@pytest.mark.parametrize("ok", [True, False], ids=["success", "failure"])
async def test_late_results_change_nothing_in_a_trial(memory: Fleet, mode: str, ok: bool):
    policy = BreakerPolicy(mode=mode, jitter=0.0, min_calls=5, half_open_max_calls=3, success_threshold=3)  # type: ignore[arg-type]  # of the table
    breakers = [memory.join(policy, pace=NEVER) for _ in range(2)]
    agent = Held(ok=ok)
    late = [asyncio.ensure_future(end_of(breaker.call(agent))) for breaker in breakers for _ in range(5)]
    await until(lambda: agent.running == 10, "running")
    await failures(breakers[0], 5)
    await memory.seen_by_all("open")
    memory.clock.advance(60)
    await breakers[0].call(work)
    await memory.seen_by_all("half_open")
    before, now = await memory.stores[0].read("breaker/agent")

    agent.let_go.set()
    await asyncio.gather(*late)
    for breaker in breakers:
        await breaker.refresh()

    after, _ = await memory.stores[0].read("breaker/agent")
    assert after == before
    assert look("agent", policy)(after, now).result.state == "half_open"


async def test_what_says_nothing_in_a_trial_leaves_room_for_another(memory: Fleet):
    (breaker,) = await opened(memory, ONE, 1)

    def leave() -> None:
        raise SystemExit(3)

    for _ in range(5):
        with pytest.raises(SystemExit):
            await breaker.call(leave)

    assert await breaker.call(work) == "done"


async def test_cancelled_while_a_failing_store_is_asked_a_caller_is_cancelled(memory: Fleet):
    (breaker,) = await opened(memory, ONE, 1)
    memory.stores[0].gate.clear()
    call = asyncio.ensure_future(breaker.call(work))
    await until(lambda: memory.commands() == 1, "asked")
    memory.stores[0].down = "refusing"

    call.cancel()
    await asyncio.sleep(0)
    memory.stores[0].gate.set()

    with pytest.raises(asyncio.CancelledError):
        await call
