"""The budget's shell: money and tokens held, settled, undone; chains; what happens without the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from coterie import Event
from coterie.budget import Budget, BudgetChain, units
from coterie.errors import BudgetExhausted, BudgetSpent, Misuse, PolicyError, Unavailable
from coterie.testing import ManualClock
from tests.fleet.limits.flaky import FlakyStore

PATIENCE_S = 20.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[FlakyStore]:
    store = FlakyStore(clock=clock)
    yield store
    await store.aclose()


async def seen(budget: Budget) -> tuple[int, int]:
    status = await budget.status()
    return status.spent, status.held


async def test_what_was_reported_is_spent_and_the_rest_given_back(store: FlakyStore):
    budget = Budget("run", "10.00", store=store)

    async with budget.reserve("4") as spending:
        assert await seen(budget) == (0, 4_000_000)
        spending.report(Decimal("1.25"))
        spending.report(1)

    assert await seen(budget) == (1_250_001, 0)
    assert (await budget.status()).left == 8_749_999


async def test_without_a_report_the_whole_bound_is_charged_also_after_an_error(store: FlakyStore):
    budget = Budget("run", 100, store=store)

    with pytest.raises(ZeroDivisionError):
        async with budget.reserve(40):
            raise ZeroDivisionError

    assert await seen(budget) == (40, 0)


async def test_reporting_nothing_gives_everything_back(store: FlakyStore):
    budget = Budget("run", 100, store=store)

    async with budget.reserve(40) as spending:
        spending.report(0)

    assert await seen(budget) == (0, 0)


async def test_a_spent_run_is_final_and_a_spent_window_says_when_it_ends(store: FlakyStore, clock: ManualClock):
    run, hour = Budget("run", 100, store=store), Budget("hour", 100, window="hour", store=store)
    for budget in (run, hour):
        async with budget.reserve(80):
            pass

    with pytest.raises(BudgetExhausted, match="'run' cannot hold 30 units more: 80 spent and 0 held of 100"):
        await run.hold(30)
    with pytest.raises(BudgetSpent, match="'hour' cannot hold 30 units more now") as refused:
        await hour.hold(30)

    assert refused.value.retry_after_s == 3600 - clock.now() % 3600
    clock.advance(refused.value.retry_after_s)
    await hour.hold(30)


async def test_what_others_hold_is_a_refusal_not_an_end(store: FlakyStore):
    budget = Budget("run", 100, store=store)
    await budget.hold(80)

    with pytest.raises(BudgetSpent) as refused:
        await budget.hold(30)

    assert refused.value.retry_after_s == 1


async def test_sixty_four_callers_never_hold_more_than_the_limit_together(store: FlakyStore):
    budget, most, refusals = Budget("run", 1000, store=store), 0, 0

    async def spend(number: int) -> None:
        nonlocal most, refusals
        try:
            async with budget.reserve(37) as spending:
                spent, held = await seen(budget)
                most = max(most, spent + held)
                spending.report(number % 38)
        except (BudgetSpent, BudgetExhausted):
            refusals += 1

    await asyncio.gather(*(spend(number) for number in range(64)))

    assert 1000 - 37 < most <= 1000
    assert refusals > 0


async def test_more_than_was_held_is_booked_and_told(store: FlakyStore, caplog: pytest.LogCaptureFixture):
    events: list[Event] = []
    budget = Budget("day", 100, window="day", store=store, on_event=events.append)

    async with budget.reserve(60) as spending:
        spending.report(150)

    assert [(event.name, event.fields["over"]) for event in events] == [("budget.overspent", 50)]
    assert "budget.overspent day: 50 over the limit of 100" in caplog.text
    with pytest.raises(BudgetSpent):
        await budget.hold(1)


async def test_a_listener_that_fails_changes_nothing(store: FlakyStore, caplog: pytest.LogCaptureFixture):
    def fail(event: Event) -> None:
        raise ZeroDivisionError

    budget = Budget("day", 100, window="day", store=store, on_event=fail)

    async with budget.reserve(60) as spending:
        spending.report(150)

    assert await seen(budget) == (150, 0)
    assert "budget.listener_failed day" in caplog.text


async def test_an_abandoned_reservation_is_settled_by_its_id_from_anywhere(store: FlakyStore, clock: ManualClock):
    dead = await Budget("run", 100, store=store, hold_s=10).hold(60)
    clock.advance(60)
    other = Budget("run", 100, store=store)
    assert await seen(other) == (60, 0)

    assert await other.settle(dead.id, 20)
    assert not await other.settle(dead.id, 20)

    assert await seen(other) == (20, 0)


async def test_a_caller_cancelled_while_the_store_is_silent_leaves_nothing_held(store: FlakyStore):
    budget = Budget("run", 100, store=store)
    async with store.silent():
        asking = asyncio.create_task(budget.hold(60))
        await store.decided.wait()
        assert await seen(budget) == (0, 60)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await budget.aclose()

    assert await seen(budget) == (0, 0)


# Chains.


async def test_a_chain_holds_and_settles_in_every_budget(store: FlakyStore):
    budgets = [Budget("run", 100, store=store), Budget("team", 200, store=store), Budget("day", 500, window="day")]

    async with BudgetChain(budgets).reserve(50) as spending:
        assert [await seen(budget) for budget in budgets] == [(0, 50)] * 3
        spending.report(20)

    assert [await seen(budget) for budget in budgets] == [(20, 0)] * 3


async def test_a_chain_that_is_refused_leaves_nothing_held(store: FlakyStore):
    budgets = [Budget("run", 100, store=store), Budget("team", 200, store=store), Budget("day", 60, store=store)]
    await budgets[2].hold(40)

    with pytest.raises(BudgetSpent, match="'day'"):
        await BudgetChain(budgets).hold(50)

    assert [await seen(budget) for budget in budgets] == [(0, 0), (0, 0), (0, 40)]


async def test_a_chain_that_is_cancelled_half_way_leaves_nothing_held(store: FlakyStore):
    budgets = [Budget("run", 100), Budget("team", 200, store=store)]
    chain = BudgetChain(budgets)
    async with store.silent():
        asking = asyncio.create_task(chain.hold(50))
        await store.decided.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await asyncio.gather(*(each.aclose() for each in (*budgets, chain)))

    assert [await seen(budget) for budget in budgets] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("names", [[], ["run", "run"]])
def test_a_chain_of_nothing_or_of_one_twice_is_refused(names: list[str]):
    with pytest.raises(Misuse):
        BudgetChain([Budget(name, 1) for name in names])


# The store.


async def test_a_lost_store_is_raised_and_money_is_not_spent(store: FlakyStore):
    budget = Budget("run", 100, store=store)
    store.down = True

    with pytest.raises(Unavailable):
        await budget.hold(10)

    await budget.aclose()


async def test_a_lost_store_leaves_an_open_budget_to_this_process(store: FlakyStore, clock: ManualClock):
    budget = Budget("run", 100, store=store, on_store_failure="fail_open", clock=clock)
    store.down = True

    async with budget.reserve(80):
        pass
    with pytest.raises(BudgetExhausted):
        await budget.hold(30)

    store.down = False
    clock.advance(2)
    await budget.hold(30)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settlements that failed are tried again at once, and twice."""
    monkeypatch.setattr("coterie.budget.SETTLE_AGAIN_S", (0.0, 0.0))


async def test_a_settlement_that_fails_is_tried_again_behind_the_callers_back(
    store: FlakyStore, soon: None, caplog: pytest.LogCaptureFixture
):
    budget = Budget("run", 100, store=store)

    async with budget.reserve(10) as spending:
        spending.report(5)
        store.down = True
    store.down = False
    await budget.aclose()

    assert await seen(budget) == (5, 0)
    assert "not_settled" not in caplog.text


async def test_a_settlement_that_was_made_although_the_store_failed_counts_once(store: FlakyStore, soon: None):
    budget = Budget("run", 100, store=store)
    await budget.hold(20)

    async with budget.reserve(10) as spending:
        spending.report(5)
        await Budget("run", 100, store=store).settle(spending.id, 5)
        store.down = True
    store.down = False
    await budget.aclose()

    assert await seen(budget) == (5, 20)


async def test_a_settlement_that_goes_on_failing_is_logged_with_its_id(
    store: FlakyStore, soon: None, caplog: pytest.LogCaptureFixture
):
    budget = Budget("run", 100, store=store)

    async with budget.reserve(10) as spending:
        spending.report(5)
        store.down = True
    await budget.aclose()

    assert f"budget.not_settled run: settle {spending.id!r} at 5 by hand" in caplog.text
    store.down = False
    assert await budget.settle(spending.id, 5)


async def test_the_end_does_not_wait_for_the_next_try(store: FlakyStore, caplog: pytest.LogCaptureFixture):
    budget = Budget("run", "1.00", store=store)

    async with budget.reserve("0.10") as spending:
        spending.report("0.05")
        store.down = True
    asked = store.updates
    async with asyncio.timeout(PATIENCE_S):
        await budget.aclose()

    assert store.updates == asked + 1
    assert "budget.not_settled run" in caplog.text


# Words.


async def test_money_is_told_as_money_and_long_waits_in_minutes(store: FlakyStore, clock: ManualClock):
    clock.advance(3600 - clock.now() % 3600 + 28 * 60)
    hour = Budget("hour", "1.00", window="hour", store=store)
    await hour.hold("0.30")
    async with hour.reserve("0.60"):
        pass

    with pytest.raises(BudgetSpent) as refused:
        await hour.hold("0.50")

    assert str(refused.value) == (
        "the budget 'hour' cannot hold 0.50 more now: 0.60 spent and 0.30 held of 1.00; try again in 32 min"
    )


async def test_tokens_are_told_as_tokens(store: FlakyStore):
    with pytest.raises(BudgetExhausted, match="cannot hold 1,200 tokens more: 0 spent and 0 held of 1,000"):
        await Budget("run", 1000, unit="tokens", store=store).hold(1200)


@pytest.mark.parametrize("store", ["redis://user:secret@host/0", 5])
def test_a_store_that_is_none_is_refused_and_no_password_shown(store: Any):
    with pytest.raises(Misuse, match="open_state_store") as refused:
        Budget("run", 1, store=store)

    assert "secret" not in str(refused.value)


# Amounts.


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (12, 12),
        ("12.50", 12_500_000),
        (Decimal("0.0000001"), 1),
        ("1e-3", 1000),
        (Decimal(3), 3_000_000),
    ],
)
def test_amounts_are_whole_units(amount: Any, expected: int):
    assert units(amount) == expected


@pytest.mark.parametrize("amount", [1.5, 0.1, True, "ten", "", "NaN", Decimal("Infinity"), None])
def test_a_float_or_no_amount_at_all_is_refused(amount: Any):
    with pytest.raises(Misuse, match="no exact amount"):
        units(amount)


def test_a_budget_that_cannot_be_kept_is_refused():
    with pytest.raises(PolicyError):
        Budget("run", -1)
    with pytest.raises(PolicyError):
        Budget("run", 1, window="week")  # type: ignore[arg-type]
    with pytest.raises(Misuse):
        Budget("a/b", 1)
