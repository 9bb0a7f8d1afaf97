"""Every rule that refuses writes down that the clock was set back; else whoever is refused would be so for ever."""

from __future__ import annotations

from typing import Any

import pytest

from coterie._rules import breaker, budget, pool, quota, retry_budget
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.decided import Operation
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.timeline import SECOND, go_on, stands_still

NOW = 1_800_000_000 * SECOND
BACK = NOW - 3600 * SECOND
TRIED = BreakerPolicy(timeout_s=5.0, jitter=0.0, half_open_max_calls=1, success_threshold=1)
QUOTAS = {"requests": quota.Quota(rate_per_s=1.0, burst=1)}
ALLOWANCE = budget.Allowance(limit=10)
WINDOW = budget.Allowance(limit=10, window="day")
TERMS = PoolPolicy().terms("t")


def permit(number: int) -> Operation[Any]:
    return breaker.admit("b", TRIED, permit_id=f"{number:016x}", chance=0)


def ask(number: int, *, wait: int = 0) -> Operation[Any]:
    asked = [f"t{number}", f"h{number}", 0, 1, wait, "", []]
    return pool.turn(TERMS, "p", chance=0, agents=[["north", 1, 1]] if number == 0 else [], asks=[asked])


RESERVE = quota.reserve(QUOTAS, {"requests": 1}, max_wait_s=0)
RETRY = retry_budget.take(retry_budget.RetryAllowance(cap=1))
CASES = {
    "breaker, open": ([breaker.force("b", TRIED, to="open", chance=0)], permit(1)),
    "breaker, forced open": ([breaker.force("b", TRIED, to="forced_open", chance=0)], permit(1)),
    "quota": ([RESERVE], RESERVE),
    "budget": ([budget.reserve(ALLOWANCE, "a", 10, hold_s=60)], budget.reserve(ALLOWANCE, "b", 10, hold_s=60)),
    "budget with windows": ([budget.reserve(WINDOW, "a", 10, hold_s=60)], budget.reserve(WINDOW, "b", 10, hold_s=60)),
    "pool": ([ask(0)], ask(1)),
    "retries": ([RETRY], RETRY),
}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_after_the_clock_was_set_back_is_written_down(case):
    before, refused = CASES[case]
    state = None
    for operation in before:
        state = operation(state, NOW).state

    again = refused(state, BACK)

    assert again.state is not None
    assert again.state is not state
    assert not stands_still(again.state, BACK)
    # And what is refused a second time, at the same instant, has nothing more to write.
    assert case == "retries" or refused(again.state, BACK).state is again.state


def test_going_on_changes_the_beginning_of_a_state_and_nothing_else():
    state = ask(0)(None, NOW).state

    went_on = go_on(state, BACK + 7)

    assert went_on.state == {**state, "t0": state["t0"] - 3600, "at": 7}
    assert go_on(went_on.state, BACK + 8).state is went_on.state
    assert go_on(None, NOW).state is None
