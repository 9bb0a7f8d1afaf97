"""A limiter's rule never admits more than its quotas, lets nobody overtake, and always goes on."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie._rules import gcra, quota
from coterie._rules.quota import Quota
from coterie._rules.timeline import SECOND, moment
from coterie.errors import Misuse, PolicyError, StateFormatError
from tests.fleet.limits.quota_histories import EPOCH, NAMES, Story, crowds, stories

EXAMPLES = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
CROWDED = settings(EXAMPLES, max_examples=300)
MANY = settings(EXAMPLES, max_examples=5_000)


def never_over(told: tuple[Story, list[tuple[Any, ...]]]) -> None:
    story, steps = told

    story.play(steps)

    assert max(story.most_over(name) for name in NAMES) <= 0


test_no_window_sees_more_than_its_quota = EXAMPLES(given(stories())(never_over))
test_a_crowd_that_uses_less_than_it_asked_for_gets_no_more = CROWDED(given(crowds())(never_over))
test_no_window_sees_more_than_its_quota_at_length = pytest.mark.full(
    MANY(given(st.one_of(stories(), crowds()))(never_over))
)


@EXAMPLES
@given(stories(kinds=("back",)))
def test_a_caller_goes_at_the_first_instant_that_a_log_of_all_would_allow(told: tuple[Story, list[tuple[Any, ...]]]):
    story, steps = told

    for step in steps:
        if step[0] != "reserve":
            story.play([step])
            continue
        earliest = max([story.at, *(one.go for one in story.log)])
        for name, cost in step[1].items():
            limit, taken = story.quotas[name], 0
            for one in reversed(story.log):
                taken += limit.charge_us(one.asked.get(name, 0))
                earliest = max(earliest, one.go + taken + limit.charge_us(cost) - limit.full_us)
        at = story.at

        reserved = story.reserve(*step[1:])

        assert at + reserved.wait_us == earliest


@EXAMPLES
@given(stories(kinds=("settle", "cancel", "pause", "back")))
def test_nobody_goes_before_somebody_who_came_earlier(told: tuple[Story, list[tuple[Any, ...]]]):
    story, steps = told

    story.play(steps)

    assert all(first.go <= second.go for first, second in itertools.pairwise(story.log))


@settings(EXAMPLES, max_examples=100)
@given(
    st.integers(2, 200),
    st.integers(1, 100),
    st.one_of(st.just([1]), st.lists(st.integers(1, 100), min_size=1, max_size=5)),
    # In the short ones a unit is a microsecond or three, and every rounding counts.
    st.sampled_from([0.0003, 0.0005, 0.05, 1, 7.5, 60, 86_400]),
)
def test_no_sliding_window_of_admissions_exceeds_the_limit(limit: int, burst: int, costs: list[int], window_s: float):
    burst = min(burst, max(1, limit // 2))
    story = Story({"requests": Quota.per_window(limit, window_s, burst=burst)})
    total = 0

    for cost in itertools.cycle(costs):
        story.reserve({"requests": min(cost, burst)}, 86_400.0)
        total += min(cost, burst)
        if total > 3 * limit or len(story.log) > 300:
            break

    for position, first in enumerate(story.log):
        within = itertools.takewhile(lambda one, end=first.go + window_s * SECOND: one.go <= end, story.log[position:])
        assert sum(one.costs["requests"] for one in within) <= limit


@EXAMPLES
@given(stories(), st.integers(1, 500), st.sampled_from([0.0, 0.5, 2.0]))
def test_a_refusal_changes_nothing_and_says_exactly_when_to_ask_again(
    told: tuple[Story, list[tuple[Any, ...]]], cost: int, max_wait_s: float
):
    story, steps = told
    story.play(steps)
    asked = {"tokens": min(cost, story.quotas["tokens"].burst), "requests": 1}

    if story.state is not None:
        # A clock that is behind goes on at its own pace only once it has caught up.
        story.now = max(story.now, (story.state["t0"] * SECOND) + story.state["at"])  # type: ignore[operator]

    refused = story.reserve(asked, max_wait_s)

    if not refused.granted:
        story.move(refused.wait_us - int(max_wait_s * SECOND) - 1)
        assert not story.reserve(asked, max_wait_s).granted
        story.move(1)
        assert story.reserve(asked, max_wait_s).granted


@EXAMPLES
@given(stories())
def test_after_enough_time_everybody_goes_at_once(told: tuple[Story, list[tuple[Any, ...]]]):
    story, steps = told
    story.play(steps)
    ahead = max([0, story.state["go"], *(flow[0] for flow in story.state["flows"].values())]) if story.state else 0  # type: ignore[index,union-attr]

    story.now = (story.state["t0"] if story.state else 0) * SECOND + max(ahead, story.at) + 1  # type: ignore[operator]
    story.now = max(story.now, EPOCH)

    full = {name: one.burst for name, one in story.quotas.items()}
    assert story.reserve(full, 0.0).wait_us == 0


@EXAMPLES
@given(stories(kinds=("settle", "back")), st.data())
def test_reservations_made_last_and_taken_back_together_leave_no_trace(
    told: tuple[Story, list[tuple[Any, ...]]], data: st.DataObject
):
    story, steps = told
    story.play(steps)
    probes = [{"requests": 1}, {"tokens": 1}, {name: one.burst for name, one in story.quotas.items()}]
    before = [
        quota.reserve(story.quotas, costs, max_wait_s=86_400.0)(story.state, story.now).result.wait_us
        for costs in probes
    ]
    mine = [
        story.reserve({"tokens": 1 + size % story.quotas["tokens"].burst})
        for size in data.draw(st.lists(st.integers(0, 2000), max_size=12))
    ]
    given_up = [len(story.log) - 1 - back for back in range(sum(one.granted for one in mine))]
    if any(not one.granted for one in mine):
        return

    unsettled = [one for one in story.log if one.number not in story.settled]
    story.cancel(data.draw(st.permutations([unsettled.index(story.log[place]) for place in given_up])))

    after = [
        quota.reserve(story.quotas, costs, max_wait_s=86_400.0)(story.state, story.now).result.wait_us
        for costs in probes
    ]
    assert after == before


@EXAMPLES
@given(stories())
def test_a_stored_state_survives_json_and_a_new_beginning(told: tuple[Story, list[tuple[Any, ...]]]):
    story, steps = told
    story.play(steps)
    if story.state is None:
        return
    story.now = moment(story.state, story.now).t0_s * SECOND + story.at
    old = quota.reserve(story.quotas, {"tokens": 1}, max_wait_s=86_400.0)(story.state, story.now)
    # The same, told from a beginning so long ago that the rule makes a new one.
    long_s = 60_000_000
    aged = json.loads(json.dumps(story.state))
    aged["t0"] -= long_s
    for name in ("at", "go", "until"):
        aged[name] += long_s * SECOND
    for flow in aged["flows"].values():
        flow[0] += long_s * SECOND

    new = quota.reserve(story.quotas, {"tokens": 1}, max_wait_s=86_400.0)(aged, story.now)

    assert new.result.wait_us == old.result.wait_us
    assert new.state is None or moment(new.state, story.now).at < gcra.LATEST


def test_tokens_that_were_not_used_go_to_the_next_caller():
    story = Story({"tokens": Quota(rate_per_s=10, burst=100)})
    story.reserve({"tokens": 60})
    assert story.reserve({"tokens": 60}, 0.0).granted is False

    story.settle(0, {"tokens": 20})

    assert story.reserve({"tokens": 60}, 0.0).granted


def test_time_that_nobody_used_is_not_sold_twice():
    story = Story({"tokens": Quota(rate_per_s=1, burst=10)})
    story.reserve({"tokens": 10})
    story.move(10 * SECOND)
    story.reserve({"tokens": 10})

    story.settle(0, {"tokens": 0})

    assert story.reserve({"tokens": 10}).wait_us == 10 * SECOND


def test_only_as_much_is_given_back_as_the_bucket_held_ever_since():
    story = Story({"tokens": Quota(rate_per_s=1, burst=10)})
    story.reserve({"tokens": 10})
    story.move(7 * SECOND)
    story.reserve({"tokens": 7})

    story.settle(0, {"tokens": 0})

    # Three of the ten had not drained when the seven came.
    assert story.reserve({"tokens": 4}).wait_us == SECOND


def test_a_limiter_that_has_given_back_all_it_could_gives_back_again_to_those_who_come_later():
    story = Story({"tokens": Quota(rate_per_s=1, burst=10)})
    story.reserve({"tokens": 10})
    story.move(5 * SECOND)
    story.reserve({"tokens": 5})
    story.settle(0, {"tokens": 0})
    story.reserve({"tokens": 5})
    story.move(5 * SECOND)
    story.reserve({"tokens": 5})

    story.settle(1, {"tokens": 0})

    assert story.reserve({"tokens": 5}).wait_us == 0


def test_what_was_booked_meanwhile_stays_when_the_newest_reservation_is_taken_back():
    story = Story({"tokens": Quota(rate_per_s=1, burst=10), "requests": Quota(rate_per_s=0.01, burst=1)})
    story.reserve({"tokens": 5, "requests": 1})
    waiting = story.reserve({"tokens": 10, "requests": 1})
    assert waiting.wait_us == 100 * SECOND
    story.move(10 * SECOND)
    story.apply(quota.settle(story.quotas, 1, {"tokens": 5}, {"tokens": 10}))  # type: ignore[arg-type]

    story.cancel([1])

    assert story.reserve({"tokens": 10}).wait_us == 5 * SECOND


def test_tokens_used_beyond_the_estimate_delay_those_who_come_next():
    story = Story({"tokens": Quota(rate_per_s=10, burst=100)})
    story.reserve({"tokens": 100})

    story.apply(quota.settle(story.quotas, 1, {"tokens": 100}, {"tokens": 150}))  # type: ignore[arg-type]

    assert story.reserve({"tokens": 1}).wait_us == 5_100_000


def test_a_pause_moves_the_whole_schedule_and_tells_by_how_much():
    story = Story({"requests": Quota(rate_per_s=1, burst=1)})
    waits = [story.reserve({"requests": 1}).wait_us for _ in range(3)]

    decided = quota.pause("demo", 30)(story.state, story.now)
    again = quota.pause("demo", 20)(decided.state, story.now)

    assert waits == [0, SECOND, 2 * SECOND]
    assert [(signal.channel, signal.message) for signal in decided.signals] == [("limit/demo", "30000000")]
    assert again.state is decided.state
    later = quota.reserve(story.quotas, {"requests": 1}, max_wait_s=60)(decided.state, story.now).result
    assert later.wait_us == 33 * SECOND
    assert later.held_us == 30 * SECOND


def test_time_goes_on_after_a_clock_leapt_ahead_and_came_back_though_everybody_is_refused():
    story = Story({"requests": Quota(rate_per_s=0.1, burst=1)}, now=EPOCH + 86_400 * SECOND)
    story.reserve({"requests": 1})
    story.now = EPOCH

    refusals = 0
    while not story.reserve({"requests": 1}, 0.0).granted:
        refusals += 1
        assert refusals < 20
        story.move(SECOND)


def test_a_cost_above_the_burst_names_both_numbers():
    with pytest.raises(Misuse, match="500 tokens at once are more than the burst of 100"):
        quota.reserve({"tokens": Quota(rate_per_s=1, burst=100)}, {"tokens": 500}, max_wait_s=1)


@pytest.mark.parametrize(
    "costs", [{}, {"requests": 0}, {"requests": -1}, {"requests": 1.5}, {"requests": True}, {"words": 1}]
)
def test_costs_that_mean_nothing_are_refused(costs: dict[str, Any]):
    with pytest.raises(Misuse):
        quota.reserve({"requests": Quota(rate_per_s=1, burst=5)}, costs, max_wait_s=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Quota(rate_per_s=0, burst=1),
        lambda: Quota(rate_per_s=float("nan"), burst=1),
        lambda: Quota(rate_per_s=float("inf"), burst=1),
        lambda: Quota(rate_per_s=1, burst=0),
        lambda: Quota(rate_per_s=1, burst=1.5),  # type: ignore[arg-type]
        lambda: Quota(rate_per_s=1e-9, burst=1),
        lambda: Quota.per_window(10, 60, burst=10),
        lambda: Quota.per_window(10, 0, burst=1),
        lambda: Quota.per_window(10.5, 60, burst=1),  # type: ignore[arg-type]
    ],
)
def test_quotas_that_cannot_be_kept_are_refused(make: Any):
    with pytest.raises(PolicyError):
        make()


def test_a_state_of_a_newer_format_is_left_alone():
    state = {"v": 99, "t0": 0, "at": 0}

    with pytest.raises(StateFormatError, match="99"):
        quota.reserve({"requests": Quota(rate_per_s=1, burst=1)}, {"requests": 1}, max_wait_s=1)(state, EPOCH)  # type: ignore[arg-type]
