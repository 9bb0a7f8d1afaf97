"""The store does not answer: the policy holds, nothing false is counted, and all ends without a restart."""

from __future__ import annotations

import asyncio
import logging

import pytest

from coterie.breaker import BreakerPolicy, Pace
from coterie.errors import BreakerOpen, StateFormatError, Unavailable
from tests.fleet.breaker.world import Broken, Fleet, Held, end_of, fail, failures, until, work

NEVER = Pace(flush_s=3600.0, reconcile_s=3600.0)
OFTEN = Pace(flush_s=0.001, reconcile_s=0.005)


async def away(fleet: Fleet, **options: object) -> None:
    """One breaker that has just lost its store."""
    breaker = fleet.join(**{"pace": NEVER, **options})  # type: ignore[arg-type]  # a table of options
    await breaker.call(work)
    fleet.stores[0].down = "refusing"
    await failures(breaker, 1)
    await until(lambda: breaker.get_state().store == "away", "away")


async def test_fail_open_goes_on_and_trips_by_itself(fleet: Fleet):
    await away(fleet)
    breaker = fleet.breakers[0]

    assert await breaker.call(work) == "done"
    await failures(breaker, 5)
    refused = await end_of(breaker.call(work))

    assert isinstance(refused, BreakerOpen)
    assert refused.retry_after_s == pytest.approx(60, abs=1)
    fleet.clock.advance(61)
    await breaker.call(work)
    await breaker.call(work)
    assert breaker.get_state().state == "closed"
    assert breaker.get_state().store == "away"


async def test_fail_closed_refuses_with_the_drivers_error(fleet: Fleet):
    await away(fleet, on_store_failure="fail_closed")

    with pytest.raises(Unavailable, match="fail_closed") as refused:
        await fleet.breakers[0].call(work)

    assert isinstance(refused.value.__cause__, Unavailable)
    assert isinstance(refused.value.__cause__.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize("residence", ["resident", "transient", "auto"])
@pytest.mark.parametrize("policy", ["fail_open", "fail_closed"])
async def test_away_from_the_start_the_policy_holds_and_it_recovers(memory: Fleet, residence: str, policy: str):
    breaker = memory.join(residence=residence, on_store_failure=policy, pace=OFTEN)
    memory.stores[0].down = "refusing"

    ends = [await end_of(breaker.call(work)) for _ in range(3)]
    memory.stores[0].down = None
    await until(lambda: breaker.get_state().store != "away", "the store is back")

    assert breaker.get_state().store == ("transient" if residence == "transient" else "resident")
    assert all(end == "done" if policy == "fail_open" else isinstance(end, Unavailable) for end in ends)
    assert await breaker.call(work) == "done"
    assert memory.names() == ["breaker.store_failed", "breaker.store_recovered"]
    if residence == "transient":
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, "nothing in the background")


async def test_it_is_said_once_and_ends_by_itself(memory: Fleet, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "coterie.breaker")
    breaker = memory.join(pace=OFTEN)
    await breaker.call(work)
    memory.stores[0].down = "refusing"

    for _ in range(4):
        await failures(breaker, 1)
        await breaker.call(work)
        await breaker.refresh()
    tried = len(memory.stores[0].calls)
    await until(lambda: len(memory.stores[0].calls) > tried + 3, "more tries in the background")
    memory.stores[0].down = None
    await until(lambda: breaker.get_state().store == "resident", "the store is back")

    said = [record.getMessage().split()[0] for record in caplog.records]
    assert said == ["breaker.store_failed", "breaker.store_recovered"]
    assert memory.names() == said


async def test_while_away_no_call_waits_for_the_store(memory: Fleet):
    await away(memory)
    tried = memory.commands()

    for _ in range(100):
        await memory.breakers[0].call(work)

    assert memory.commands() == tried


async def test_back_again_it_follows_the_fleet(memory: Fleet):
    breaker, other = memory.join(pace=NEVER), memory.join(pace=NEVER)
    await breaker.call(work)
    memory.stores[0].down = "refusing"
    await failures(breaker, 6)
    await until(lambda: breaker.get_state().store == "away", "away")
    await failures(breaker, 5)
    assert breaker.get_state().state == "open"
    memory.stores[0].down = None

    await breaker.refresh()

    assert breaker.get_state().state == "closed"
    await failures(other, 5)
    await memory.seen_by_all("open")


async def test_failures_from_while_it_was_away_trip_nobody_later(memory: Fleet):
    breaker, other = memory.join(pace=NEVER), memory.join(pace=NEVER)
    await failures(other, 4)
    await breaker.call(work)
    await breaker.refresh()
    assert breaker.get_state().failures == 0
    await failures(breaker, 1)
    await until(lambda: breaker.get_state().failures == 1, "1 failure")
    memory.stores[0].down = "refusing"
    await failures(breaker, 4)
    await until(lambda: breaker.get_state().store == "away", "away")
    memory.stores[0].down = None

    await breaker.refresh()
    await other.refresh()

    assert other.get_state().state == "closed"
    assert other.get_state().failures == 1


@pytest.mark.parametrize("when", ["in the lost batch", "while away"])
async def test_a_success_that_was_lost_still_ends_the_row_of_failures(memory: Fleet, when: str):
    breaker = memory.join(pace=NEVER)
    await failures(breaker, 4)
    await breaker.refresh()
    memory.stores[0].down = "refusing"
    if when == "in the lost batch":
        await breaker.call(work)
        await failures(breaker, 1)
    else:
        await failures(breaker, 1)
        await until(lambda: breaker.get_state().store == "away", "away")
        await breaker.call(work)
    await until(lambda: breaker.get_state().store == "away", "away")
    memory.stores[0].down = None
    await breaker.refresh()

    await failures(breaker, 1)
    await breaker.refresh()

    # Before, 4 in a row; then a success that the store never saw; then this one.
    assert breaker.get_state().state == "closed"
    assert breaker.get_state().failures == 1


async def test_a_batch_whose_answer_was_lost_is_not_told_twice(memory: Fleet):
    breaker = memory.join(pace=NEVER)
    await breaker.call(work)
    memory.stores[0].down = "mute"
    await failures(breaker, 3)
    await until(lambda: breaker.get_state().store == "away", "away")
    memory.stores[0].down = None

    await breaker.refresh()

    assert breaker.get_state().failures == 3
    assert breaker.get_state().state == "closed"


async def test_open_when_the_store_goes_it_stays_open_for_the_rest_of_its_time(fleet: Fleet):
    breaker = fleet.join(pace=NEVER)
    await failures(breaker, 5)
    await fleet.seen_by_all("open")
    fleet.clock.advance(20)
    fleet.stores[0].down = "refusing"

    await breaker.refresh()

    assert breaker.get_state().store == "away"
    refused = await end_of(breaker.call(work))
    assert isinstance(refused, BreakerOpen)
    assert refused.retry_after_s == pytest.approx(40, abs=1)
    fleet.clock.advance(41)
    assert await breaker.call(work) == "done"
    assert breaker.get_state().state == "half_open"


async def test_a_time_that_has_grown_is_kept_while_the_store_is_away(memory: Fleet):
    breaker = memory.join(pace=NEVER)
    await failures(breaker, 5)
    await memory.seen_by_all("open")
    memory.clock.advance(60)
    await failures(breaker, 1)
    assert breaker.get_state().retry_after_s == pytest.approx(120)
    memory.stores[0].down = "refusing"

    await breaker.refresh()

    assert breaker.get_state().store == "away"
    assert breaker.get_state().retry_after_s == pytest.approx(120, abs=1)


@pytest.mark.parametrize("hand", ["force_open", "disable", "metrics_only"])
async def test_a_state_by_hand_holds_while_the_store_is_away(memory: Fleet, hand: str):
    breaker = memory.join(pace=NEVER)
    await getattr(breaker, hand)()
    forced = breaker.get_state().state
    memory.stores[0].down = "refusing"

    await breaker.refresh()

    assert breaker.get_state().store == "away"
    assert breaker.get_state().state == forced


async def test_a_decision_by_hand_that_the_store_did_not_confirm_says_so_and_holds_here(memory: Fleet):
    breaker = memory.join(pace=NEVER)
    await breaker.call(work)
    memory.stores[0].down = "refusing"

    confirmed = breaker.force_open()
    with pytest.raises(Unavailable):
        await confirmed

    assert isinstance(await end_of(breaker.call(work)), BreakerOpen)
    # Again, now that it is known to be away.
    unwatched = breaker.auto()
    assert await breaker.call(work) == "done"
    with pytest.raises(Unavailable):
        await unwatched


async def test_the_permit_of_a_trial_during_which_the_store_went_expires_there(memory: Fleet):
    policy = BreakerPolicy(jitter=0.0, half_open_max_calls=1, success_threshold=1, probe_timeout_s=10)
    breaker, other = memory.join(policy, pace=NEVER), memory.join(policy, pace=NEVER)
    await other.refresh()
    agent = Held()
    await failures(breaker, 5)
    await memory.seen_by_all("open")
    memory.clock.advance(60)
    call = asyncio.ensure_future(breaker.call(agent))
    await until(lambda: agent.running == 1, "running")
    memory.stores[0].down = "refusing"

    agent.let_go.set()
    assert await call == "done"

    assert breaker.get_state().store == "away"
    assert isinstance(await end_of(other.call(work)), BreakerOpen)
    memory.clock.advance(10)
    assert await other.call(work) == "done"


async def test_ended_calls_that_cannot_be_told_do_not_pile_up(memory: Fleet):
    breaker = memory.join(BreakerPolicy(failure_threshold=1_000_000), pace=NEVER)
    await breaker.call(work)
    await failures(breaker, 1)
    memory.stores[0].gate.clear()
    await asyncio.sleep(0)

    for _ in range(5_000):
        await failures(breaker, 1)
        await breaker.call(work)

    tally = breaker._shadow.tally
    assert tally is not None
    assert len(tally.runs) <= 1_024


async def test_a_state_of_a_newer_version_is_a_store_that_fails(memory: Fleet):
    newer = {"v": 99, "t0": 1, "at": 1}
    breaker = memory.join(pace=NEVER)
    await memory.stores[0].update("breaker/agent", lambda old, now: (newer, None, ()))  # type: ignore[arg-type,return-value]  # a tuple will do

    assert await breaker.call(work) == "done"

    assert breaker.get_state().store == "away"
    assert "format 99" in str(memory.events[0].fields["error"])
    state, _ = await memory.stores[0].read("breaker/agent")
    assert state == newer
    with pytest.raises(StateFormatError):
        await breaker.reset()


async def test_a_store_that_fails_and_comes_back_in_the_middle_loses_no_caller(memory: Fleet):
    breaker = memory.join(BreakerPolicy(mode="count", jitter=0.0), pace=OFTEN)

    async def caller() -> int:
        ended = 0
        for number in range(60):
            end = await end_of(breaker.call(fail if number % 10 == 9 else work))
            ended += end == "done" or isinstance(end, Broken)
            await asyncio.sleep(0)
        return ended

    async def weather() -> None:
        for _ in range(3):
            memory.stores[0].down = "refusing"
            await until(lambda: breaker.get_state().store == "away", "away")
            memory.stores[0].down = None
            await until(lambda: breaker.get_state().store == "resident", "back")

    callers = [asyncio.ensure_future(caller()) for _ in range(8)]
    await weather()

    assert await asyncio.gather(*callers) == [60] * 8
    assert breaker.get_state().state == "closed"
