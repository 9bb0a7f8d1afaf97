"""Retries stay within a share of the successes and a floor; concurrency follows what an agent bears."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie._rules.aimd import Aimd, Concurrency, adjust, begin
from coterie._rules.retry_budget import RetryAllowance, take
from coterie._rules.timeline import SECOND
from coterie.errors import Misuse, PolicyError

EXAMPLES = settings(max_examples=100, deadline=None, print_blob=True)
EPOCH = 1_790_000_000 * SECOND
POLICIES = st.builds(RetryAllowance, share=st.floats(0.01, 1), floor_per_s=st.floats(0.01, 50), cap=st.integers(1, 200))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 3), st.integers(0, 20)),
        st.tuples(st.just("move"), st.one_of(st.integers(0, 50), st.integers(0, 20 * SECOND))),
    ),
    max_size=80,
)


@EXAMPLES
@given(POLICIES, STEPS)
def test_retries_never_exceed_the_share_the_floor_and_what_was_saved(
    policy: RetryAllowance, steps: list[tuple[Any, ...]]
):
    state, now, granted, successes = None, EPOCH, 0, 0

    for step in steps:
        if step[0] == "move":
            now += step[1]
            continue
        decided = take(policy, retries=step[1], successes=step[2])(state, now)
        state = decided.state
        successes += step[2]
        granted += step[1] if decided.result.granted else 0

        assert granted <= policy.cap + policy.share * successes + policy.floor_per_s * (now - EPOCH) / SECOND


@EXAMPLES
@given(POLICIES, STEPS)
def test_the_floor_lets_a_retry_through_after_enough_time(policy: RetryAllowance, steps: list[tuple[Any, ...]]):
    state, now = None, EPOCH
    for step in steps:
        if step[0] == "take":
            state = take(policy, retries=step[1], successes=step[2])(state, now).state
        else:
            now += step[1]

    now += int(1.01 * SECOND / policy.floor_per_s) + 1000

    assert take(policy)(state, now).result.granted


@EXAMPLES
@given(st.integers(1, 1000), st.floats(0.01, 20))
def test_looking_often_does_not_slow_the_filling(step_us: int, floor_per_s: float):
    policy = RetryAllowance(share=0, floor_per_s=floor_per_s, cap=10)
    state = take(policy, retries=10)(None, EPOCH).state

    for count in range(1, 301):
        state = take(policy, retries=0)(state, EPOCH + count * step_us).state

    exact = floor_per_s * 300 * step_us
    assert state is not None
    assert exact * (1 - 1e-3) - 302 <= state["tokens"] <= exact + 1  # type: ignore[operator]


def test_a_share_of_the_successes_is_given_back():
    policy = RetryAllowance(share=0.1, floor_per_s=0, cap=5)
    state = take(policy, retries=5)(None, EPOCH).state

    nine = take(policy, successes=9)(state, EPOCH)
    ten = take(policy, successes=1)(nine.state, EPOCH)

    assert (nine.result.granted, ten.result.granted) == (False, True)


def test_a_bucket_goes_on_after_years_and_after_a_clock_set_back():
    policy = RetryAllowance(share=0.1, floor_per_s=1, cap=5)
    state = take(policy, retries=5)(None, EPOCH).state

    back = take(policy)(state, EPOCH - 1000 * SECOND)
    later = take(policy, retries=5)(back.state, EPOCH + 60_000_000 * SECOND)

    assert not back.result.granted
    assert later.result.granted
    assert later.state is not None
    assert later.state["at"] == 0


@pytest.mark.parametrize(
    "values",
    [{"share": -0.1}, {"share": 1.5}, {"floor_per_s": -1}, {"share": 0, "floor_per_s": 0}, {"cap": 0}, {"cap": 1.5}],
)
def test_retry_allowances_that_cannot_work_are_refused(values: dict[str, Any]):
    with pytest.raises(PolicyError):
        RetryAllowance(**values)


@pytest.mark.parametrize("count", [-1, 1.5, True])
def test_counts_that_cannot_be_are_refused(count: Any):
    with pytest.raises(Misuse):
        take(RetryAllowance(), successes=count)


# Concurrency.


@EXAMPLES
@given(
    st.tuples(st.integers(1, 20), st.integers(20, 40), st.integers(40, 100)),
    st.floats(0.5, 0.99),
    st.lists(
        st.tuples(st.integers(0, 120), st.integers(0, 3), st.sampled_from(["success", "overload", "ignored"])),
        max_size=100,
    ),
)
def test_a_limit_stays_within_its_bounds_and_moves_the_right_way(
    bounds: tuple[int, int, int], backoff: float, calls: list[Any]
):
    policy = Aimd(minimum=bounds[0], start=bounds[1], maximum=bounds[2], backoff=backoff)
    now = begin(policy)

    for in_flight, age, outcome in calls:
        after = adjust(policy, now, in_flight=in_flight, epoch=max(now.epoch - age, 0), outcome=outcome)

        assert policy.minimum <= after.limit <= policy.maximum
        assert after.limit - now.limit <= (1 if outcome == "success" else 0)
        assert after.limit >= now.limit or (outcome == "overload" and after.limit >= int(now.limit * backoff) - 1)
        now = after


@EXAMPLES
@given(
    st.lists(st.integers(1, 8), min_size=3, max_size=3).map(sorted),
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 1), st.sampled_from(["success"] * 8 + ["overload", "ignored"])),
        max_size=200,
    ),
)
def test_between_two_raises_there_are_as_many_successes_under_load_as_the_limit(bounds: list[int], calls: list[Any]):
    policy = Aimd(minimum=bounds[0], start=bounds[1], maximum=bounds[2])
    now, counted = begin(policy), 0

    for in_flight, age, outcome in calls:
        after = adjust(policy, now, in_flight=in_flight, epoch=max(now.epoch - age, 0), outcome=outcome)

        counted += outcome == "success" and in_flight * 2 >= now.limit
        if after.limit > now.limit:
            assert counted >= now.limit
            counted = 0
        assert after.counted < after.limit
        now = after


def test_a_limit_grows_by_one_after_as_many_successes_as_it_is():
    policy = Aimd(start=1, maximum=5)
    now, limits = begin(policy), list[int]()

    for _ in range(15):
        now = adjust(policy, now, in_flight=now.limit, epoch=0, outcome="success")
        limits.append(now.limit)

    assert limits == [2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5]


def test_successes_count_while_half_of_the_limit_is_in_use_and_failures_between_them_take_nothing_away():
    policy = Aimd(start=10)
    now = begin(policy)

    for _ in range(9):
        now = adjust(policy, now, in_flight=5, epoch=0, outcome="success")
        now = adjust(policy, now, in_flight=4, epoch=0, outcome="success")
        now = adjust(policy, now, in_flight=5, epoch=0, outcome="ignored")

    assert now == Concurrency(10, 0, 9)
    assert adjust(policy, now, in_flight=4, epoch=0, outcome="success") == now
    assert adjust(policy, now, in_flight=5, epoch=0, outcome="success") == Concurrency(11, 0, 0)


def test_an_overload_begins_the_count_anew_and_one_of_an_earlier_epoch_does_not():
    policy = Aimd(minimum=10, start=10)

    assert adjust(policy, Concurrency(10, 0, 9), in_flight=10, epoch=0, outcome="overload") == Concurrency(10, 1, 0)
    assert adjust(policy, Concurrency(20, 1, 9), in_flight=10, epoch=1, outcome="overload") == Concurrency(18, 2, 0)
    assert adjust(policy, Concurrency(20, 1, 9), in_flight=10, epoch=0, outcome="overload") == Concurrency(20, 1, 9)


def test_calls_that_fail_together_lower_the_limit_once():
    policy = Aimd(start=100)
    now = begin(policy)

    for _ in range(50):
        now = adjust(policy, now, in_flight=50, epoch=0, outcome="overload")

    assert now == Concurrency(90, 1)
    assert adjust(policy, now, in_flight=50, epoch=1, outcome="overload") == Concurrency(81, 2)


def test_an_overload_always_lowers_a_small_limit_down_to_the_minimum():
    policy = Aimd(start=3, backoff=0.9)
    now = begin(policy)

    for epoch in range(5):
        now = adjust(policy, now, in_flight=3, epoch=epoch, outcome="overload")

    assert now.limit == 1


@EXAMPLES
@given(
    st.tuples(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(1, 10**9)), st.floats(0.5, 1, exclude_max=True)
)
def test_the_terms_of_a_concurrency_are_integers_that_it_can_be_made_of_again(bounds: Any, backoff: float):
    least, middle, most = sorted(bounds)
    policy = Aimd(minimum=least, start=middle, maximum=most, backoff=backoff)

    terms = policy.terms()

    assert all(type(value) is int for value in terms.values())
    assert abs(terms["backoff"] - backoff * 10**6) <= 1
    assert Aimd.of(terms).terms() == terms


@pytest.mark.parametrize(
    "values", [{"minimum": 0}, {"minimum": 20, "start": 10}, {"start": 300}, {"backoff": 1.0}, {"backoff": 0.1}]
)
def test_concurrencies_that_cannot_work_are_refused(values: dict[str, Any]):
    with pytest.raises(PolicyError):
        Aimd(**values)
