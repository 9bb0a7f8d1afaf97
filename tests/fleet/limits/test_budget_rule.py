"""A budget's rule never lets more be spent than its limit, forgets nothing that was spent, and settles once."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie._rules import budget
from coterie._rules.budget import Allowance, window_end_s
from coterie._rules.decided import Operation, State
from coterie._rules.timeline import SECOND
from coterie.errors import Misuse, PolicyError

EXAMPLES = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
MANY = settings(EXAMPLES, max_examples=5_000)
EPOCH = 1_790_000_000 * SECOND


@dataclass
class Story:
    """Plays one budget, and keeps books of its own: who holds what until when, what was spent in each window."""

    allowance: Allowance
    now: int = EPOCH
    latest: int = EPOCH
    state: State | None = None
    holds: dict[str, int] = field(default_factory=dict)
    spent: dict[int, int] = field(default_factory=dict)
    made: int = 0

    def apply(self, operation: Operation[Any]) -> Any:
        decided = operation(self.state, self.now)
        self.state = json.loads(json.dumps(decided.state))
        return decided.result

    @property
    def window(self) -> int:
        return 0 if self.allowance.window is None else window_end_s(self.allowance.window, self.latest // SECOND)

    def reserve(self, amount: int, hold_s: float) -> None:
        amount = min(amount, self.allowance.limit)
        name = f"hold-{self.made}"
        self.made += 1
        before = self.state
        booked = self.apply(budget.reserve(self.allowance, name, amount, hold_s=hold_s))
        if booked.granted:
            self.holds[name] = amount
        else:
            # The passing of time may be noted; nothing is seen of the refusal.
            assert budget.look(self.allowance, self.state, self.now) == budget.look(self.allowance, before, self.now)
        self.check()

    def settle(self, position: int, share: int) -> None:
        if not self.made:
            return
        name = f"hold-{position % self.made}"
        amount = self.holds.get(name, 0) * share // 8
        settled = self.apply(budget.settle(self.allowance, "demo", name, amount))
        held = self.holds.pop(name, None)
        if settled.known:
            assert held is not None, "it was settled twice"
            self.spent[self.window] = self.spent.get(self.window, 0) + amount
        self.check()

    def move(self, by_us: int) -> None:
        self.now += by_us
        self.latest = max(self.latest, self.now)

    def check(self) -> None:
        view = budget.look(self.allowance, self.state, self.now)
        assert view.spent + view.held <= self.allowance.limit
        assert all(spent <= self.allowance.limit for spent in self.spent.values())
        if self.allowance.window is None:
            assert view.spent + view.held == self.spent.get(0, 0) + sum(self.holds.values())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 120), st.sampled_from([1.0, 60.0, 7200.0])),
        st.tuples(st.just("reserve"), st.integers(0, 30), st.just(600.0)),
        st.tuples(st.just("settle"), st.integers(0, 30), st.integers(0, 8)),
        st.tuples(st.just("move"), st.one_of(st.integers(0, 90 * SECOND), st.integers(0, 5000 * SECOND))),
    ),
    min_size=1,
    max_size=40,
)
BACK = st.tuples(st.just("move"), st.integers(-50 * SECOND, 0))


def never_over(limit: int, window: Any, steps: list[tuple[Any, ...]]) -> None:
    story = Story(Allowance(limit=limit, window=window))

    for step in steps:
        getattr(story, step[0])(*step[1:])


WINDOWS = st.sampled_from([None, 60, 3600, "hour", "day"])
test_what_is_spent_and_held_never_exceeds_the_limit = EXAMPLES(given(st.integers(0, 300), WINDOWS, STEPS)(never_over))
test_what_is_spent_and_held_never_exceeds_the_limit_at_length = pytest.mark.full(
    MANY(given(st.integers(0, 300), WINDOWS, STEPS)(never_over))
)


@EXAMPLES
@given(
    st.integers(0, 300),
    st.sampled_from([None, 60, "hour"]),
    st.lists(st.one_of(STEPS.map(lambda s: s[0]), BACK), max_size=30),
)
def test_a_clock_that_goes_back_gives_nothing_out_twice(limit: int, window: Any, steps: list[tuple[Any, ...]]):
    story = Story(Allowance(limit=limit, window=window))

    for step in steps:
        getattr(story, step[0])(*step[1:])


@EXAMPLES
@given(st.integers(1, 300), st.sampled_from([60, "hour", "day", "month"]), STEPS)
def test_a_window_that_is_spent_is_free_again_when_it_says(limit: int, window: Any, steps: list[tuple[Any, ...]]):
    story = Story(Allowance(limit=limit, window=window))
    never_over(limit, window, [])
    for step in steps:
        getattr(story, step[0])(*step[1:])
    for position in range(story.made):
        story.settle(position, 8)

    booked = story.apply(budget.reserve(story.allowance, "last", limit, hold_s=1))

    if not booked.granted:
        story.move(booked.wait_us - 1)
        assert not story.apply(budget.reserve(story.allowance, "last", limit, hold_s=1)).granted
        story.move(1)
        assert story.apply(budget.reserve(story.allowance, "last", limit, hold_s=1)).granted


@given(st.integers(0, 4_000_000_000))
@settings(max_examples=300, deadline=None)
def test_windows_are_those_of_the_calendar(now_s: int):
    day = dt.datetime.fromtimestamp(now_s, dt.UTC)
    first = day.replace(day=1, hour=0, minute=0, second=0)
    following = (first + dt.timedelta(days=32)).replace(day=1)

    assert window_end_s("month", now_s) == int(following.timestamp())
    assert window_end_s("day", now_s) == (now_s // 86_400 + 1) * 86_400
    assert window_end_s(7, now_s) % 7 == 0
    assert 0 < window_end_s(7, now_s) - now_s <= 7


def test_a_reservation_whose_owner_died_is_charged_in_full_until_it_is_settled():
    story = Story(Allowance(limit=100))
    story.reserve(60, 10)
    story.move(3600 * SECOND)

    assert budget.look(story.allowance, story.state, story.now).spent == 60
    refused = story.apply(budget.reserve(story.allowance, "other", 50, hold_s=1))
    assert (refused.granted, refused.wait_us) == (False, 0)

    story.settle(0, 4)
    assert story.apply(budget.reserve(story.allowance, "other", 50, hold_s=1)).granted


def test_after_a_day_an_abandoned_reservation_is_spent_for_good():
    story = Story(Allowance(limit=100))
    story.reserve(60, 10)
    story.move(90_000 * SECOND)

    settled = story.apply(budget.settle(story.allowance, "demo", "hold-0", 0))

    assert not settled.known
    assert budget.look(story.allowance, story.state, story.now).spent == 60


def test_reserving_twice_under_one_id_holds_once():
    story = Story(Allowance(limit=100))

    for _ in range(2):
        assert story.apply(budget.reserve(story.allowance, "same", 60, hold_s=1)).granted

    assert budget.look(story.allowance, story.state, story.now).held == 60


def test_more_than_was_reserved_is_booked_told_and_refuses_what_comes_next():
    story = Story(Allowance(limit=100, window="hour"))
    story.reserve(60, 10)

    decided = budget.settle(story.allowance, "demo", "hold-0", 130)(story.state, story.now)

    assert decided.result.over == 30
    (signal,) = decided.signals
    assert signal.channel == "budget/demo"
    assert json.loads(signal.message) == {
        "event": "budget.overspent", "id": "hold-0", "held": 60, "spent": 130, "over": 30
    }  # fmt: skip
    refused = budget.reserve(story.allowance, "next", 1, hold_s=1)(decided.state, story.now).result
    assert not refused.granted
    assert 0 < refused.wait_us <= 3600 * SECOND


def test_what_is_only_reserved_is_worth_asking_for_again():
    story = Story(Allowance(limit=100))
    story.reserve(60, 10)

    refused = story.apply(budget.reserve(story.allowance, "other", 50, hold_s=1))

    assert (refused.granted, refused.wait_us) == (False, SECOND)


def test_a_reservation_that_outlives_its_window_counts_in_the_next():
    story = Story(Allowance(limit=100, window=60))
    story.move(-(EPOCH // SECOND % 60) * SECOND)
    story.reserve(60, 90)
    story.reserve(30, 10)
    story.move(60 * SECOND)

    view = budget.look(story.allowance, story.state, story.now)

    assert (view.spent, view.held) == (0, 60)


def test_a_clock_that_leapt_ahead_and_came_back_does_not_leave_the_window_in_the_future():
    story = Story(Allowance(limit=100, window="hour"))
    story.move(400 * 86_400 * SECOND)
    story.reserve(100, 10)
    story.settle(0, 8)
    story.move(-400 * 86_400 * SECOND)

    refused = story.apply(budget.reserve(story.allowance, "next", 1, hold_s=1))

    assert not refused.granted
    assert refused.wait_us <= 3600 * SECOND
    story.move(refused.wait_us)
    assert story.apply(budget.reserve(story.allowance, "next", 1, hold_s=1)).granted


def test_a_budget_goes_on_after_years():
    story = Story(Allowance(limit=100))
    story.reserve(10, 30 * 86_400)
    story.move(60_000_000 * SECOND)
    story.reserve(20, 10)

    assert story.state is not None
    assert story.state["at"] == 0
    view = budget.look(story.allowance, story.state, story.now)
    assert (view.spent, view.held) == (10, 20)


def test_more_than_a_window_will_ever_have_names_both_numbers():
    with pytest.raises(Misuse, match="200 units at once are more than the 100 of a window"):
        budget.reserve(Allowance(limit=100, window="day"), "one", 200, hold_s=1)


@pytest.mark.parametrize("amount", [-1, 1.5, True, 10**13 + 1, "5"])
def test_amounts_that_cannot_be_booked_are_refused(amount: Any):
    with pytest.raises(Misuse, match="whole number"):
        budget.reserve(Allowance(limit=100), "one", amount, hold_s=1)


@pytest.mark.parametrize(
    "settings",
    [{"limit": -1}, {"limit": 1.5}, {"limit": 10**14}, {"limit": 1, "window": "week"}, {"limit": 1, "window": 0}],
)
def test_budgets_that_cannot_be_kept_are_refused(settings: dict[str, Any]):
    with pytest.raises(PolicyError):
        Allowance(**settings)
