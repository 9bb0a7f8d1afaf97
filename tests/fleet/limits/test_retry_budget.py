"""The retry budget's shell: successes told in batches, tokens taken from the fleet's bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from coterie.errors import Misuse, Unavailable
from coterie.retry_budget import RetryAllowance, RetryBudget
from coterie.testing import ManualClock
from tests.fleet.limits.flaky import FlakyStore

FEW = RetryAllowance(share=0.1, floor_per_s=0.001, cap=2)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[FlakyStore]:
    store = FlakyStore(clock=clock)
    yield store
    await store.aclose()


async def test_the_fleet_shares_its_retries(store: FlakyStore, clock: ManualClock):
    first, second = (RetryBudget("linter", FEW, store=store, clock=clock) for _ in range(2))

    took = [await first.take(), await second.take(), await first.take(), await second.take()]

    assert took == [True, True, False, False]


async def test_successes_are_told_with_the_next_retry_or_after_a_second(store: FlakyStore, clock: ManualClock):
    first, second = (RetryBudget("linter", FEW, store=store, clock=clock) for _ in range(2))
    while await first.take():
        pass
    asked = store.updates

    for _ in range(10):
        first.succeeded()
    assert store.updates == asked
    assert not await second.take()
    clock.advance(1.5)
    first.succeeded()
    await first.aclose()

    assert store.updates == asked + 2
    assert await second.take()


async def test_a_lost_store_leaves_retries_to_this_process_and_loses_no_success(store: FlakyStore, clock: ManualClock):
    budget = RetryBudget("linter", FEW, store=store, clock=clock)
    store.down = True

    took = [await budget.take() for _ in range(3)]

    assert took == [True, True, False]


async def test_a_closed_budget_raises_and_tells_its_successes_later(store: FlakyStore, clock: ManualClock):
    budget = RetryBudget("linter", FEW, store=store, clock=clock, on_store_failure="fail_closed")
    while await budget.take():
        pass
    budget.succeeded(10)
    store.down = True
    with pytest.raises(Unavailable):
        await budget.take()
    await budget.flush()

    store.down = False

    assert await budget.take()
    await budget.aclose()


@pytest.mark.parametrize("count", [-1, 1.5])
def test_successes_that_cannot_be_counted_are_refused(count: int):
    with pytest.raises(Misuse):
        RetryBudget("linter").succeeded(count)
