"""Batches against calls one by one, and both against a list of all that ever ended."""

from __future__ import annotations

import json
import random
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie._rules.breaker_policy import BreakerPolicy, terms_of
from coterie._rules.timeline import SECOND
from coterie._rules.window import open_window, take
from coterie.errors import StateFormatError
from tests.fleet.rules.breaker_world import World, check_storable

CODES = "sftg"


@st.composite
def policies(draw: st.DrawFn) -> BreakerPolicy:
    mode = draw(st.sampled_from(["consecutive", "count", "time"]))
    window = draw(st.integers(1, 6))
    return BreakerPolicy(
        mode=mode,
        failure_threshold=draw(st.integers(1, 6)) if mode == "consecutive" else 5,
        failure_rate=0.5 if mode == "consecutive" else draw(st.sampled_from([0.1, 1 / 3, 0.5, 2 / 3, 0.9, 1.0])),
        slow_call_s=draw(st.sampled_from([None, 1.0])),
        slow_rate=draw(st.sampled_from([0.25, 0.5, 1.0])),
        window_calls=window,
        window_s=draw(st.integers(1, 5)),
        min_calls=draw(st.integers(1, window)),
    )


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[int, str]]:
    """(microseconds that pass before it, its calls)."""
    runs = st.lists(st.tuples(st.sampled_from("ssssftg"), st.integers(1, 9)), min_size=1, max_size=4)
    calls = runs.map(lambda found: "".join(code * number for code, number in found))
    pause = st.one_of(st.just(0), st.integers(0, 3 * SECOND), st.integers(0, 9).map(lambda n: n * SECOND))
    return draw(st.lists(st.tuples(pause, calls), max_size=8))


class Listed:
    """The naive breaker: keeps every call that ended, and counts anew after each."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.calls: list[tuple[int, str]] = []
        self.open = False

    def end(self, now: int, code: str) -> None:
        if self.open:
            return
        self.calls.append((now, code))
        policy, counted = self.policy, self.window(now)
        failed, slow = sum(code in "fg" for code in counted), sum(code in "tg" for code in counted)
        if policy.mode == "consecutive":
            self.open = len(counted) >= policy.failure_threshold
        elif len(counted) >= policy.min_calls:
            too_slow = policy.slow_call_s is not None and slow / len(counted) >= policy.slow_rate - 1e-9
            self.open = failed / len(counted) >= policy.failure_rate - 1e-9 or too_slow

    def window(self, now: int) -> list[str]:
        codes = [code for _, code in self.calls]
        if self.policy.mode == "count":
            return codes[-self.policy.window_calls :]
        if self.policy.mode == "time":
            return [code for when, code in self.calls if when // SECOND > now // SECOND - self.policy.window_s]
        row: list[str] = []
        while codes and codes[-1] in "fg":
            row.append(codes.pop())
        return row


@settings(max_examples=150, deadline=None)
@given(policies(), batches())
def test_windows_and_openings_are_those_of_a_list_of_all_calls(policy: BreakerPolicy, told: list[tuple[int, str]]):
    world, listed = World(policy), Listed(policy)
    world.reset()

    for pause, calls in told:
        world.now += pause
        view = world.record(calls)
        for code in calls:
            listed.end(world.now, code)

        assert (view.state == "open") == listed.open
        if listed.open:
            break
        counted = listed.window(world.now)
        assert view.calls == len(counted)
        assert view.failures == sum(code in "fg" for code in counted)
        assert view.slow == (sum(code in "tg" for code in counted) if policy.mode != "consecutive" else 0)


@settings(max_examples=150, deadline=None)
@given(policies(), batches(), st.integers(0, 999_999))
def test_a_batch_is_its_calls_one_by_one(policy: BreakerPolicy, told: list[tuple[int, str]], chance: int):
    batched, single = World(policy), World(policy)
    batched.chance = single.chance = chance
    batched.reset()
    single.reset()

    for pause, calls in told:
        batched.now += pause
        single.now += pause
        generation = batched.look().generation
        batched.record(calls, generation=generation)
        for code in calls:
            single.record(code, generation=generation)

        # One decision or many: the instant of the last one alone may differ, where the last calls changed nothing.
        assert _timeless(batched) == _timeless(single)
        assert batched.views == single.views


@settings(max_examples=80, deadline=None)
@given(policies(), batches(), st.data())
def test_metrics_only_counts_the_same_and_never_opens(policy: BreakerPolicy, told: list[tuple[int, str]], data):
    world, listed = World(policy), Listed(policy)
    world.force("metrics_only")

    for pause, calls in told:
        world.now += pause
        view = world.record(calls)
        for code in calls:
            listed.end(world.now, code)
            listed.open = False

        assert (view.state, view.calls) == ("metrics_only", len(listed.window(world.now)))


@pytest.mark.parametrize("mode", ["count", "time"])
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_the_call_that_opens_is_found_in_a_long_run_as_one_by_one(mode: str, size: int):
    terms = terms_of(BreakerPolicy(mode=mode, window_calls=2_000, min_calls=900, failure_rate=0.5))
    window = open_window(terms, None, 0)

    assert not take(window, terms, [["s", 1_000]], judge=True)
    opened = take(window, terms, [["f", size]], judge=True)

    # 1,000 of 2,000.
    assert opened == (size >= 1_000)
    assert window.counts.failures == min(size, 1_000)


@pytest.mark.parametrize("mode", ["count", "time"])
def test_the_success_that_opens_is_found_in_the_middle_of_a_run_that_ends_well(mode: str):
    world = World(mode=mode, min_calls=4, failure_rate=0.5)
    world.record("ff")

    assert world.record("s" * 50).state == "open"


@pytest.mark.parametrize("mode", ["count", "time"])
def test_the_first_call_under_stricter_rules_opens_though_the_last_of_its_run_would_not(mode: str):
    world = World(mode=mode, min_calls=8, failure_rate=0.9)
    world.record("fffffsss")
    world.policy = BreakerPolicy(mode=mode, min_calls=8, failure_rate=0.5)

    assert world.record("s" * 50).state == "open"


def test_failures_push_failures_out_of_a_count_window_before_they_raise_its_share():
    world = World(mode="count", window_calls=10, min_calls=10, failure_rate=0.5)
    world.record("ffssssssss")

    assert world.record("ffff").failures == 4
    assert world.record("fff").state == "open"


def test_a_run_that_first_pushes_out_its_own_kind_opens_in_one_batch():
    world = World(mode="count", window_calls=10, min_calls=10, failure_rate=0.5)
    world.record("ffssssssss")

    assert world.record("fffffff").state == "open"


@pytest.mark.parametrize("mode", ["consecutive", "count", "time"])
def test_any_number_of_calls_is_counted_in_few_steps_and_small_numbers(mode: str):
    terms = terms_of(BreakerPolicy(mode=mode, window_calls=10_000))
    window = open_window(terms, None, 0)
    steps = 0
    real = window.step

    def counted(code: str):
        nonlocal steps
        steps += 1
        return real(code)

    window.step = counted  # type: ignore[method-assign]
    for _ in range(1_500):
        take(window, terms, [["f", 1_000_000]], judge=False)

    assert steps < 6_100
    check_storable(window.stored())
    assert window.counts.calls <= 10**9


def test_a_count_window_is_stored_in_at_most_one_letter_a_call():
    policy = BreakerPolicy(mode="count", window_calls=500, failure_rate=1.0)
    world = World(policy)
    chances = random.Random(7)
    for _ in range(100):
        world.record("".join(chances.choices(CODES, weights=[6, 2, 1, 1], k=40)))

    stored = world.state["counted"]

    assert isinstance(stored, str)
    assert 100 < len(stored) <= 500


def test_a_count_window_of_equal_calls_is_stored_in_a_few_letters():
    world = World(mode="count", window_calls=500)
    world.record("s" * 5_000)

    assert world.state["counted"] == "500s"


def test_a_time_window_stores_one_entry_a_second_and_no_old_ones():
    world = World(mode="time", window_s=60)
    for _ in range(500):
        world.record("ss")
        world.wait(0.5)

    assert 59 <= len(world.state["counted"]) <= 61
    assert len(json.dumps(world.state)) < 60 * 24


def test_a_window_under_a_smaller_policy_keeps_the_newest_calls():
    world = World(mode="count", window_calls=10, min_calls=10)
    world.record("sssssff")

    world.policy = BreakerPolicy(mode="count", window_calls=3, min_calls=3, failure_rate=1.0)

    assert (world.look().calls, world.look().failures) == (3, 2)
    assert world.record("f").state == "open"


@pytest.mark.parametrize(
    "stored",
    [
        "12",
        "0s",
        "12x",
        "s12",
        "s f",
        [],
        1.5,
        -1,
        True,
        10**9 + 1,
        {"x": "1,0,0"},
        {"1": "1,0"},
        {"1": 3},
        {"1": None},
    ],
)
@pytest.mark.parametrize("mode", ["consecutive", "count", "time"])
def test_a_stored_window_that_is_none_is_refused(stored, mode: str):
    with pytest.raises(StateFormatError):
        open_window(terms_of(BreakerPolicy(mode=mode)), stored, 0)


@settings(max_examples=80, deadline=None)
@given(policies(), batches())
def test_a_window_comes_back_from_its_stored_form(policy: BreakerPolicy, told: list[tuple[int, str]]):
    terms = terms_of(policy)
    window = open_window(terms, None, 0)
    for _, calls in told:
        take(window, terms, [[code, len(list(same))] for code, same in groupby(calls)], judge=False)

    again = open_window(terms, json.loads(json.dumps(window.stored())), 0)

    assert again.counts == window.counts
    assert again.stored() == window.stored()


def _timeless(world: World) -> dict:
    return {name: value for name, value in (world.state or {}).items() if name != "at"}
