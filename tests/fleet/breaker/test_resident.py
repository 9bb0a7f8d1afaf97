"""Processes that share a breaker and live long: nothing is asked while closed, and all trip together."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest

from coterie.breaker import BreakerPolicy, Pace
from coterie.errors import BreakerOpen
from coterie.testing.faults_state import FaultyStateStore
from tests.fleet.breaker.world import CERTAIN, Broken, Fleet, Held, end_of, failures, until, work

# So seldom that no test sees it: what arrives has come by itself.
NEVER = Pace(flush_s=3600.0, reconcile_s=3600.0)


async def test_closed_no_call_costs_a_command(fleet: Fleet):
    breaker = fleet.join(pace=NEVER)
    await breaker.call(work)
    fleet.forget_commands()

    for _ in range(2_000):
        await breaker.call(work)

    assert fleet.commands() == 0
    await breaker.refresh()
    assert [what for what, _ in fleet.stores[0].calls] == ["update", "read"]
    assert breaker.get_state().store == "resident"


async def test_successes_leave_by_themselves_together(memory: Fleet):
    breaker = memory.join(BreakerPolicy(mode="count"), pace=Pace(flush_s=0.001, reconcile_s=3600.0))
    for _ in range(50):
        await breaker.call(work)
    memory.forget_commands()

    await until(lambda: breaker.get_state().calls == 50, "50 calls at the store")

    assert memory.stores[0].calls == [("update", "breaker/agent")]


async def test_a_failure_takes_along_what_came_before_it_in_order(memory: Fleet):
    breaker = memory.join(BreakerPolicy(mode="count"), pace=NEVER)
    await failures(breaker, 1)
    for _ in range(3):
        await breaker.call(work)
    await failures(breaker, 2)
    await breaker.call(work)

    await breaker.refresh()

    state, _ = await memory.stores[0].read("breaker/agent")
    assert state is not None
    assert state["counted"] == "f3s2fs"


async def test_a_failure_is_told_without_waiting(memory: Fleet):
    breaker = memory.join(pace=NEVER)

    await failures(breaker, 1)

    await until(lambda: breaker.get_state().failures == 1, "the failure at the store")


async def test_failures_of_all_are_counted_together_and_all_learn_of_the_trip(fleet: Fleet):
    breakers = [fleet.join(pace=NEVER) for _ in range(4)]
    for breaker in breakers:
        await breaker.refresh()

    # A quarter of the threshold each, and one more: nobody reaches it alone.
    for breaker in [*breakers, breakers[0]]:
        assert breaker.get_state().state == "closed"
        await failures(breaker, 1)
    await fleet.seen_by_all("open")

    for breaker in breakers:
        refused = await end_of(breaker.call(work))
        assert isinstance(refused, BreakerOpen)
        assert refused.retry_after_s == pytest.approx(60, abs=1)
    assert fleet.names() == ["breaker.opened"]


async def test_refusals_of_an_open_breaker_cost_nothing(fleet: Fleet):
    breakers = [fleet.join(pace=NEVER) for _ in range(2)]
    await breakers[1].refresh()
    await failures(breakers[0], 5)
    await fleet.seen_by_all("open")
    fleet.forget_commands()

    for _ in range(100):
        for breaker in breakers:
            assert isinstance(await end_of(breaker.call(work)), BreakerOpen)

    assert fleet.commands() == 0


async def test_64_failures_at_once_open_it_once(fleet: Fleet):
    breakers = [fleet.join(pace=NEVER) for _ in range(4)]
    agent = Held(ok=False)
    calls = [asyncio.ensure_future(end_of(breaker.call(agent))) for breaker in breakers for _ in range(16)]
    await until(lambda: agent.running == 64, "64 calls")

    agent.let_go.set()
    assert all(isinstance(end, Broken) for end in await asyncio.gather(*calls))
    await fleet.seen_by_all("open")

    assert fleet.names() == ["breaker.opened"]
    assert breakers[0].get_state().opened == 1
    assert breakers[0].get_state().retry_after_s == pytest.approx(60, abs=1)


async def test_a_signal_that_was_lost_is_made_good(memory: Fleet):
    one, other = memory.join(pace=NEVER), memory.join(pace=Pace(reconcile_s=0.005))
    await other.refresh()
    memory.stores[1].deaf = True

    await failures(one, 5)

    await memory.seen_by_all("open")
    assert memory.names() == ["breaker.opened"]


async def test_told_that_signals_were_missed_it_looks_again(memory: Fleet):
    one, other = memory.join(pace=NEVER), memory.join(pace=NEVER)
    await other.refresh()
    memory.stores[1].deaf = True
    await failures(one, 5)
    await until(lambda: one.get_state().state == "open", "open")
    assert other.get_state().state == "closed"

    memory.forget_commands()
    memory.stores[1].tell_of_a_loss()
    memory.stores[1].tell_of_a_loss()

    await memory.seen_by_all("open")
    assert memory.stores[1].calls == [("read", "breaker/agent")]


async def test_a_signal_that_nobody_can_read_has_it_look(memory: Fleet):
    one, other = memory.join(pace=NEVER), memory.join(pace=NEVER)
    await other.refresh()
    memory.stores[1].deaf = True
    await failures(one, 5)
    await until(lambda: one.get_state().state == "open", "open")
    memory.stores[1].deaf = False

    await memory.stores[0].publish("breaker/agent", '{"v": 2}')

    await memory.seen_by_all("open")


async def test_a_signal_of_an_older_generation_is_not_believed(memory: Fleet):
    breaker = memory.join(pace=NEVER)
    await failures(breaker, 5)
    await until(lambda: breaker.get_state().state == "open", "open")
    old = breaker.get_state()
    message = {
        "state": "closed", "generation": old.generation - 1, "t0": 0, "until": 0, "retry_after": 0, "failures": 0,
        "calls": 0, "slow": 0, "out": 0, "settled": 0, "opened": 0, "changed": "open>closed",
    }  # fmt: skip

    await memory.stores[0].publish("breaker/agent", json.dumps(message))
    await asyncio.sleep(0)

    assert breaker.get_state().state == "open"


async def test_a_store_that_lost_its_state_is_believed(memory: Fleet):
    breaker = memory.join(pace=NEVER)
    await failures(breaker, 5)
    await until(lambda: breaker.get_state().state == "open", "open")
    await memory.stores[0].update("breaker/agent", lambda old, now: (None, None, ()))  # type: ignore[arg-type,return-value]  # a tuple will do

    await breaker.refresh()

    assert breaker.get_state().state == "closed"
    await failures(breaker, 5)
    await until(lambda: breaker.get_state().state == "open", "open again")


async def test_by_hand_applies_here_at_once_and_everywhere_when_awaited(fleet: Fleet):
    one, other = fleet.join(pace=NEVER), fleet.join(pace=NEVER)
    await one.call(work)
    await other.call(work)

    confirmed = one.force_open()
    assert isinstance(await end_of(one.call(work)), BreakerOpen)
    await confirmed
    await fleet.seen_by_all("forced_open")
    assert isinstance(await end_of(other.call(work)), BreakerOpen)
    await other.auto()
    await fleet.seen_by_all("closed")

    assert await one.call(work) == "done"
    assert fleet.names() == ["breaker.forced", "breaker.closed"]


async def test_a_reset_forgets_what_waited_and_what_was_counted(memory: Fleet):
    breaker = memory.join(pace=NEVER)
    await failures(breaker, 4)
    memory.stores[0].gate.clear()
    await asyncio.sleep(0)

    confirmed = breaker.reset()
    memory.stores[0].gate.set()
    await confirmed
    await breaker.refresh()

    assert breaker.get_state().failures == 0
    await failures(breaker, 4)
    await breaker.refresh()
    assert breaker.get_state().state == "closed"


async def test_forced_to_what_it_is_it_goes_on_counting(memory: Fleet):
    breaker = memory.join(pace=NEVER)
    await failures(breaker, 4)
    await breaker.refresh()

    await breaker.force_closed()
    await failures(breaker, 1)

    await until(lambda: breaker.get_state().state == "open", "open")


async def test_closing_tells_what_waits_and_stops_listening(memory: Fleet):
    breaker = memory.join(BreakerPolicy(mode="count"), pace=NEVER)
    other = memory.join(BreakerPolicy(mode="count"), pace=NEVER)
    for _ in range(7):
        await breaker.call(work)

    await breaker.aclose()

    await other.refresh()
    assert other.get_state().calls == 7
    assert memory.stores[0].calls[-1] == ("unsubscribe", "breaker/agent")


async def test_closing_leaves_no_task_behind(memory: Fleet):
    before = asyncio.all_tasks()
    breaker = memory.join()
    await failures(breaker, 2)
    await breaker.call(work)
    assert asyncio.all_tasks() > before

    await breaker.aclose()
    gc.collect()

    assert asyncio.all_tasks() == before


async def test_closing_ends_in_time_though_the_store_hangs(memory: Fleet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("coterie.breaker.shared.CLOSE_S", 0.01)
    before = asyncio.all_tasks()
    breaker = memory.join(pace=NEVER)
    await breaker.call(work)
    memory.stores[0].gate.clear()

    await breaker.aclose()

    assert asyncio.all_tasks() == before


async def test_breakers_that_begin_together_attach_once(memory: Fleet):
    breaker = memory.join(pace=NEVER)

    await asyncio.gather(*(breaker.call(work) for _ in range(20)))

    assert memory.stores[0].calls == [("subscribe", "breaker/agent"), ("read", "breaker/agent")]


async def test_a_caller_that_is_cancelled_while_all_attach_takes_nobody_along(memory: Fleet):
    breaker = memory.join(pace=NEVER)
    memory.stores[0].gate.clear()
    calls = [asyncio.ensure_future(breaker.call(work)) for _ in range(3)]
    await asyncio.sleep(0)

    calls[0].cancel()
    await asyncio.sleep(0)
    memory.stores[0].gate.set()

    assert await asyncio.gather(*calls[1:]) == ["done", "done"]
    with pytest.raises(asyncio.CancelledError):
        await calls[0]


async def test_metrics_only_counts_and_disabled_does_not(memory: Fleet):
    breaker = memory.join(CERTAIN, pace=NEVER)
    await breaker.metrics_only()
    await failures(breaker, 9)
    await breaker.refresh()
    assert (breaker.get_state().state, breaker.get_state().failures) == ("metrics_only", 9)
    await breaker.disable()
    memory.forget_commands()

    await failures(breaker, 9)
    for _ in range(5_000):
        await breaker.call(work)

    assert memory.commands() == 0
    assert breaker.get_state().state == "disabled"
    assert isinstance(memory.stores[0], FaultyStateStore)


async def test_a_signal_that_comes_while_it_attaches_is_not_lost(memory: Fleet):
    one, other = memory.join(pace=NEVER), memory.join(pace=NEVER)
    await one.call(work)
    store, read = memory.stores[1], memory.stores[1].read

    async def read_then_be_overtaken(key: str) -> object:
        answer = await read(key)
        store.read = read  # type: ignore[method-assign]  # once
        await failures(one, 5)
        await until(lambda: "breaker.opened" in memory.names(), "open")
        await asyncio.sleep(0)
        return answer

    store.read = read_then_be_overtaken  # type: ignore[method-assign,assignment]  # the worst moment, on purpose
    await end_of(other.call(work))

    await memory.seen_by_all("open")


async def test_a_signal_that_comes_while_a_decision_by_hand_is_confirmed_is_not_lost(memory: Fleet):
    one, other = memory.join(pace=NEVER), memory.join(pace=NEVER)
    await one.call(work)
    await other.call(work)
    store, update = memory.stores[1], memory.stores[1].update

    async def update_then_be_overtaken(key: str, decide: object) -> object:
        answer = await update(key, decide)  # type: ignore[arg-type]  # whatever it is
        await one.force_open()
        await asyncio.sleep(0)
        return answer

    store.update = update_then_be_overtaken  # type: ignore[method-assign,assignment]  # the worst moment, on purpose
    await other.disable()

    await until(lambda: other.get_state().state == "forced_open", "forced open")


async def test_an_answer_that_a_signal_has_overtaken_is_not_believed(memory: Fleet):
    one, other = memory.join(pace=NEVER), memory.join(pace=NEVER)
    await one.call(work)
    await other.call(work)
    store, update = memory.stores[1], memory.stores[1].update
    answered = asyncio.Event()

    async def update_then_be_overtaken(key: str, decide: object) -> object:
        answer = await update(key, decide)  # type: ignore[arg-type]  # whatever it is
        await one.force_open()
        await until(lambda: other.get_state().state == "forced_open", "the signal")
        answered.set()
        return answer

    store.update = update_then_be_overtaken  # type: ignore[method-assign,assignment]  # the worst moment, on purpose
    await failures(other, 1)
    await answered.wait()
    await asyncio.sleep(0)

    assert other.get_state().state == "forced_open"
