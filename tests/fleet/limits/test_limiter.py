"""The limiter's shell: who waits, who is refused, what is given back, and what happens without the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coterie.errors import Misuse, PolicyError, QuotaSpent, Unavailable
from coterie.limiter import Quota, RateLimiter
from coterie.stores.memory import MemoryStateStore
from coterie.stores.sqlite import SqliteStateStore
from coterie.testing import ManualClock
from tests.fleet.limits.flaky import FlakyStore

SLOW = Quota(rate_per_s=0.01, burst=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[FlakyStore]:
    store = FlakyStore(clock=clock)
    yield store
    await store.aclose()


def limiter(store: MemoryStateStore | None, quotas: Any = SLOW, **settings: Any) -> RateLimiter:
    return RateLimiter("api", quotas, store=store, **settings)


async def test_two_limiters_of_one_name_share_a_quota(store: FlakyStore, clock: ManualClock):
    first, second = limiter(store, clock=clock), limiter(store, clock=clock)

    assert (await first.acquire()).wait_s == 0
    with pytest.raises(QuotaSpent, match="'api' has no room within 10 s; try again in 90 s") as refused:
        await second.acquire(max_wait_s=10)

    assert refused.value.retry_after_s == 90


async def test_places_are_given_in_order_and_each_waits_once(store: FlakyStore):
    one = limiter(store, Quota(rate_per_s=10, burst=1))

    reserved = [await one.reserve() for _ in range(4)]

    assert [round(each.wait_s, 6) for each in reserved] == [0, 0.1, 0.2, 0.3]


async def test_callers_are_let_through_in_the_order_in_which_they_came():
    store = MemoryStateStore()
    one = limiter(store, Quota(rate_per_s=200, burst=1))

    let_through = await asyncio.gather(*(one.acquire() for _ in range(20)))

    instants = [each.reserved.at_us for each in let_through if each.reserved is not None]
    assert len(instants) == 20
    assert instants == sorted(instants)
    assert instants[-1] - instants[0] >= 19 * 5000
    await one.aclose()
    await store.aclose()


async def test_a_refusal_is_known_without_asking_the_store_again(store: FlakyStore, clock: ManualClock):
    one = limiter(store, {"requests": SLOW, "tokens": Quota(rate_per_s=1, burst=100)}, clock=clock, max_wait_s=0)
    await one.acquire(tokens=10)
    with pytest.raises(QuotaSpent):
        await one.acquire(tokens=10)
    asked = store.updates

    for _ in range(50):
        with pytest.raises(QuotaSpent):
            await one.acquire(tokens=11)

    assert store.updates == asked
    # Who asks for less, or would wait longer, may be lucky; and after a second the store is asked again.
    with pytest.raises(QuotaSpent):
        await one.acquire(tokens=9)
    assert store.updates == asked + 1
    clock.advance(1.5)
    with pytest.raises(QuotaSpent):
        await one.acquire(tokens=11)
    assert store.updates == asked + 2


async def test_a_local_refusal_says_how_much_time_is_left(store: FlakyStore, clock: ManualClock):
    one = limiter(store, clock=clock, max_wait_s=0)
    await one.acquire()
    with pytest.raises(QuotaSpent):
        await one.acquire()
    clock.advance(0.5)

    with pytest.raises(QuotaSpent) as refused:
        await one.acquire()

    assert refused.value.retry_after_s == pytest.approx(99.5)


async def test_unused_tokens_are_settled_when_the_slot_ends(store: FlakyStore, clock: ManualClock):
    one = limiter(store, {"tokens": Quota(rate_per_s=1, burst=100)}, clock=clock, max_wait_s=0)

    async with one.slot(tokens=80) as slot:
        slot.report(tokens=15)
        slot.report(tokens=5)

    assert (await one.acquire(tokens=80)).wait_s == 0


async def test_without_a_report_the_estimate_stands_also_after_an_error(store: FlakyStore, clock: ManualClock):
    one = limiter(store, {"tokens": Quota(rate_per_s=1, burst=100)}, clock=clock, max_wait_s=0)

    with pytest.raises(ZeroDivisionError):
        async with one.slot(tokens=80):
            raise ZeroDivisionError

    with pytest.raises(QuotaSpent):
        await one.acquire(tokens=80)


async def test_a_settlement_counts_once(store: FlakyStore, clock: ManualClock):
    one = limiter(store, {"tokens": Quota(rate_per_s=1, burst=100)}, clock=clock, max_wait_s=0)
    reservation = await one.acquire(tokens=50)
    await one.acquire(tokens=50)

    for _ in range(3):
        await reservation.settle(tokens=0)

    await one.acquire(tokens=50)
    with pytest.raises(QuotaSpent):
        await one.acquire(tokens=1)


async def test_callers_that_are_cancelled_together_leave_no_trace(store: FlakyStore, clock: ManualClock):
    one = limiter(store, Quota(rate_per_s=1, burst=1), max_wait_s=3600)
    await one.acquire()
    waiting = [asyncio.create_task(one.acquire()) for _ in range(64)]
    await store.asked(65)

    for task in waiting:
        task.cancel()
    ended = await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
    assert (await one.reserve()).wait_s == 1
    await one.aclose()


async def test_one_of_several_waiters_that_is_cancelled_lets_nobody_overtake(store: FlakyStore):
    one = limiter(store, Quota(rate_per_s=1, burst=1), max_wait_s=3600)
    reserved = [await one.reserve() for _ in range(4)]

    await reserved[1].cancel()
    await reserved[1].cancel()

    assert (await one.reserve()).wait_s >= reserved[3].wait_s


async def test_a_pause_holds_back_who_already_waits(store: FlakyStore):
    one, other = limiter(store, Quota(rate_per_s=50, burst=1), max_wait_s=5), limiter(store, SLOW)
    await one.acquire()
    waiting = asyncio.create_task(one.acquire())
    await store.asked(2)

    await other.pause(3600)

    with pytest.raises(QuotaSpent):
        await waiting
    await one.aclose()


async def test_a_pause_whose_message_was_missed_is_found_in_the_state(store: FlakyStore):
    one = limiter(store, Quota(rate_per_s=50, burst=1), max_wait_s=5)
    await one.acquire()
    await one._listen()
    one._unsure = False
    waiting = asyncio.create_task(one.acquire())
    await store.asked(2)

    # Another process pauses, and the message is lost.
    await store.unsubscribe("limit/api", one._on_pause)
    await limiter(store, SLOW).pause(3600)
    one._on_pause(None)

    with pytest.raises(QuotaSpent):
        await waiting


async def test_a_lease_asks_the_store_once_for_many(store: FlakyStore, clock: ManualClock):
    one = limiter(store, Quota(rate_per_s=1, burst=100), clock=clock, lease=10)

    for _ in range(25):
        await one.acquire()

    assert store.updates == 3
    # What was taken in advance is not used later than a second after.
    clock.advance(1.5)
    await one.acquire()
    assert store.updates == 4


async def test_a_lease_is_shared_fairly_by_those_who_wait_together(store: FlakyStore):
    one, went = limiter(store, Quota(rate_per_s=10_000, burst=8), lease=8), []

    async def go(number: int) -> None:
        await one.acquire()
        went.append(number)

    await asyncio.gather(*(go(number) for number in range(24)))

    assert went == list(range(24))
    assert store.updates == 3


async def test_a_lost_store_is_raised_where_the_limiter_is_closed(store: FlakyStore):
    one = limiter(store)
    store.down = True

    with pytest.raises(Unavailable):
        await one.acquire()


async def test_a_lost_store_leaves_an_open_limiter_to_this_process_and_is_taken_up_again(
    store: FlakyStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    one = limiter(store, Quota(rate_per_s=0.01, burst=2), clock=clock, max_wait_s=0, on_store_failure="fail_open")
    store.down = True
    with caplog.at_level(logging.INFO, "coterie.state"):
        for _ in range(2):
            await one.acquire()
        with pytest.raises(QuotaSpent):
            await one.acquire()
        assert store.updates == 1

        store.down = False
        clock.advance(1.5)
        await one.acquire()

    assert [record.message.split()[0] for record in caplog.records] == ["state.store_failed", "state.store_recovered"]


async def test_a_settlement_that_the_store_does_not_take_is_logged(store: FlakyStore, caplog: pytest.LogCaptureFixture):
    one = limiter(store, {"tokens": Quota(rate_per_s=1, burst=100)})

    async with one.slot(tokens=50) as slot:
        slot.report(tokens=10)
        store.down = True

    assert "limiter.not_settled api" in caplog.text


async def test_without_a_store_the_limit_is_this_process_own(clock: ManualClock):
    one = limiter(None, clock=clock, max_wait_s=0)

    await one.acquire()

    with pytest.raises(QuotaSpent):
        await one.acquire()
    clock.advance(100)
    await one.acquire()


@pytest.mark.parametrize(
    ("quotas", "settings"),
    [
        ({}, {}),
        ({"max_wait_s": SLOW}, {}),
        (SLOW, {"lease": 0}),
        (SLOW, {"lease": 2}),
        ({"requests": Quota(rate_per_s=1, burst=9), "tokens": Quota(rate_per_s=1, burst=9)}, {"lease": 2}),
        (SLOW, {"max_wait_s": -1}),
        (SLOW, {"on_store_failure": "maybe"}),
    ],
)
def test_limiters_that_cannot_work_are_refused(quotas: Any, settings: dict[str, Any]):
    with pytest.raises(Misuse):
        limiter(None, quotas, **settings)


async def test_costs_that_are_none_are_refused_whatever_the_lease():
    for lease in (1, 2):
        one = limiter(None, Quota(rate_per_s=1, burst=5), lease=lease)
        for costs in ({"words": 1}, {"requests": 6}, {"requests": 0}):
            with pytest.raises(Misuse):
                await one.acquire(**costs)


def test_a_policy_that_cannot_work_is_refused():
    with pytest.raises(PolicyError):
        Quota(rate_per_s=-1, burst=1)


def test_a_name_that_no_store_could_keep_is_refused():
    with pytest.raises(Misuse, match="a b"):
        RateLimiter("a b", SLOW)


async def test_who_cannot_wait_does_not_wait_for_another_who_fetches_a_lot():
    one = limiter(None, Quota(rate_per_s=0.1, burst=2), lease=2)
    for _ in range(2):
        await one.acquire()
    waiting = asyncio.create_task(one.acquire())
    for _ in range(5):
        await asyncio.sleep(0)

    with pytest.raises(QuotaSpent) as refused:
        async with asyncio.timeout(10):
            await one.acquire(max_wait_s=1)

    assert 0 < refused.value.retry_after_s <= 20
    waiting.cancel()
    await asyncio.wait({waiting})
    await one.aclose()


def test_what_was_being_given_back_when_a_loop_ended_keeps_nothing_in_the_next():
    one = limiter(None, Quota(rate_per_s=0.01, burst=1))

    async def leave_in_the_midst() -> None:
        reservation = await one.reserve()
        # Held by the loop until that ends.
        leaving.append(asyncio.create_task(reservation.cancel()))
        await asyncio.sleep(0)

    async def give_back() -> float:
        await (await one.reserve(max_wait_s=1000)).cancel()
        return (await one.reserve(max_wait_s=1000)).wait_s

    leaving: list[asyncio.Task[None]] = []
    asyncio.run(leave_in_the_midst())

    assert asyncio.run(give_back()) == 0


def test_a_pause_is_heard_in_the_next_event_loop_too(tmp_path: Path):
    paused = SqliteStateStore(tmp_path / "state.db")
    one = limiter(paused, Quota(rate_per_s=4, burst=1))

    async def wait(pause_s: float) -> float:
        other_store = SqliteStateStore(tmp_path / "state.db")
        await one.acquire()
        waiting = asyncio.create_task(one.acquire())
        await asyncio.sleep(0.1)
        if pause_s:
            await limiter(other_store, Quota(rate_per_s=4, burst=1)).pause(pause_s)
        began_s = asyncio.get_running_loop().time()
        await waiting
        await other_store.aclose()
        return asyncio.get_running_loop().time() - began_s

    asyncio.run(wait(0))

    assert asyncio.run(wait(1)) >= 1
    asyncio.run(paused.aclose())
