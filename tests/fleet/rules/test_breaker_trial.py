"""A trial of a breaker that rested: permits, their deadlines, and the verdict."""

from __future__ import annotations

import pytest

from coterie._rules.timeline import SECOND
from tests.fleet.rules.breaker_world import World

COUNT = {"mode": "count", "window_calls": 10, "min_calls": 4, "failure_rate": 0.5}
TIME = {"mode": "time", "window_s": 10, "min_calls": 4, "failure_rate": 0.5}


# Half open.


def test_a_trial_lets_so_many_through_and_refuses_the_rest():
    world = World(half_open_max_calls=3).tried()

    admissions = [world.admit() for _ in range(64)]

    assert [a.permit is not None for a in admissions] == [True] * 3 + [False] * 61
    assert {a.state for a in admissions} == {"half_open"}


def test_the_admission_that_begins_a_trial_says_so_once():
    world = World().tried()

    assert [world.admit().changed for _ in range(3)] == ["open>half_open", None, None]
    assert world.views[-1].changed == "open>half_open"


def test_the_first_counted_failure_opens_it():
    world = World(half_open_max_calls=3, success_threshold=3).tried()
    first, second = world.admit(), world.admit()
    world.settle(first, "s")

    view = world.settle(second, "f")

    assert (view.state, view.changed, view.opened) == ("open", "half_open>open", 2)


def test_as_many_successes_as_it_takes_close_it():
    world = World(half_open_max_calls=3, success_threshold=2).tried()
    first, second = world.admit(), world.admit()

    assert world.settle(first, "s").state == "half_open"
    view = world.settle(second, "t")

    assert (view.state, view.changed, view.failures, view.opened) == ("closed", "half_open>closed", 0, 0)


@pytest.mark.parametrize(
    ("calls", "verdict"), [("sssf", "closed"), ("ssff", "open"), ("fsss", "closed"), ("fsfs", "open"), ("sstt", "open")]
)
@pytest.mark.parametrize("mode", [COUNT, TIME])
def test_by_rates_a_trial_is_judged_once_all_its_calls_have_ended(mode: dict, calls: str, verdict: str):
    world = World(**mode, half_open_max_calls=4, slow_call_s=1.0, slow_rate=0.5).tried()
    admissions = [world.admit() for _ in calls]

    views = [world.settle(admission, code) for admission, code in zip(admissions, calls, strict=True)]

    assert [view.state for view in views] == ["half_open"] * 3 + [verdict]


def test_calls_that_ended_count_against_the_permits():
    world = World(half_open_max_calls=2, success_threshold=2).tried()

    world.settle(world.admit(), "s")
    view = world.look()

    assert (view.probes_out, view.probes_settled) == (0, 1)
    assert world.admit().admitted
    assert not world.admit().admitted


def test_an_ignored_call_gives_its_permit_back_and_says_nothing():
    world = World(half_open_max_calls=1, success_threshold=1).tried()

    view = world.settle(world.admit(), "i")

    assert (view.state, view.probes_out, view.probes_settled) == ("half_open", 0, 0)
    assert world.admit().admitted


def test_a_permit_past_its_deadline_may_be_issued_again():
    world = World(half_open_max_calls=1, success_threshold=1, probe_timeout_s=10.0).tried()
    lost = world.admit()

    refused = world.admit()
    world.now += refused.retry_after_us - 1
    assert not world.admit().admitted
    world.now += 1
    again = world.admit()

    assert refused.retry_after_us == lost.holds_us == 10 * SECOND
    assert again.permit not in (None, lost.permit)


def test_a_permit_past_its_deadline_changes_nothing_even_if_nobody_took_its_place():
    world = World(half_open_max_calls=1, success_threshold=1, probe_timeout_s=10.0).tried()
    late = world.admit()
    world.wait(10)

    assert world.settle(late, "s").state == "half_open"
    assert world.settle(late, "f").state == "half_open"


def test_a_permit_is_settled_once():
    world = World(half_open_max_calls=3, success_threshold=2).tried()
    admission = world.admit()
    world.settle(admission, "s")

    view = world.settle(admission, "s")

    assert (view.state, view.probes_settled) == ("half_open", 1)


def test_a_permit_of_an_earlier_trial_changes_nothing():
    world = World(half_open_max_calls=2, success_threshold=1).tried()
    old, other = world.admit(), world.admit()
    world.settle(other, "f")
    world.now += world.look().retry_after_us
    world.admit()

    assert world.settle(old, "f").state == "half_open"
    assert world.settle(old, "s").probes_settled == 0


def test_asking_again_with_the_same_id_takes_no_second_permit_and_no_more_time():
    world = World(half_open_max_calls=2).tried()

    first = world.admit("00000000000000aa")
    world.wait(1)
    second = world.admit("00000000000000aa")

    assert (first.permit, first.deadline_us) == (second.permit, second.deadline_us)
    assert (world.look().probes_out, world.state["round"]["admitted"]) == (1, 1)


def test_a_permit_counts_for_its_generation_alone_even_if_its_id_is_used_again():
    world = World(success_threshold=1).tried()
    old = world.admit("00000000000000aa")
    world.settle(old, "f")
    world.now += world.look().retry_after_us
    world.admit("00000000000000aa")

    assert world.settle(old, "s").state == "half_open"


def test_admitted_is_permitted_and_returned_and_expired():
    world = World(half_open_max_calls=3, success_threshold=3, probe_timeout_s=10.0, round_timeout_s=100.0).tried()
    world.settle(world.admit(), "i")
    world.settle(world.admit(), "s")
    world.admit()
    world.wait(10)
    world.admit()

    trial = world.state["round"]

    assert (trial["admitted"], trial["returned"], trial["expired"], trial["settled"]) == (4, 1, 1, 1)
    assert len(trial["permits"]) == 1


def test_a_breaker_with_few_calls_closes_all_the_same():
    world = World(timeout_s=60.0, probe_timeout_s=10.0, round_timeout_s=30.0, success_threshold=2).tried()
    assert world.settle(world.admit(), "s").state == "half_open"

    world.wait(300.0)
    admission = world.admit()

    assert admission.state == "half_open"
    assert world.settle(admission, "s").state == "closed"


@pytest.mark.parametrize("spoils", ["a permit that nobody gave back", "a failure"])
def test_a_trial_in_which_something_went_wrong_does_not_go_on(spoils: str):
    world = World(**COUNT, half_open_max_calls=4, timeout_s=60.0, probe_timeout_s=10.0, round_timeout_s=30.0).tried()
    world.settle(world.admit(), "s")
    other = world.admit()
    if spoils == "a failure":
        world.settle(other, "f")

    world.wait(30.0)

    assert world.look().state == "open"


def test_a_trial_without_a_verdict_by_its_deadline_rests_longer():
    world = World(timeout_s=60.0, probe_timeout_s=10.0, round_timeout_s=30.0).tried()
    world.settle(world.admit(), "s")
    world.admit()
    began = world.now

    world.wait(30)
    view = world.look()

    assert (view.state, view.opened) == ("open", 2)
    assert view.until_us == began + (30 + 120) * SECOND


def test_nobody_rests_for_a_trial_that_ran_out_long_ago():
    world = World(timeout_s=60.0, probe_timeout_s=10.0).tried()
    world.admit()
    world.wait(3600)

    admission = world.admit()

    assert admission.admitted
    assert [view.changed for view in world.views[-2:]] == ["half_open>open", "open>half_open"]
    assert len({view.generation for view in world.views}) == len(world.views)


def test_a_permit_never_outlives_its_trial():
    world = World(half_open_max_calls=2, probe_timeout_s=10.0, round_timeout_s=15.0).tried()
    world.admit()
    world.wait(10)

    assert world.admit().holds_us == 5 * SECOND


def test_with_every_permit_out_to_the_end_the_trial_is_waited_for():
    world = World(timeout_s=60.0, half_open_max_calls=1, success_threshold=1, probe_timeout_s=10, round_timeout_s=10)
    world.tried().admit()

    refused = world.admit()
    world.now += refused.retry_after_us - 1
    assert not world.admit().admitted
    world.now += 1

    assert refused.retry_after_us == (10 + 120) * SECOND
    assert world.admit().admitted


def test_refused_admissions_prolong_nothing():
    world = World(half_open_max_calls=1, success_threshold=1, probe_timeout_s=10.0).tried()
    world.admit()

    refusals = []
    for _ in range(100):
        refusals.append(world.admit())
        world.wait(0.1)

    assert not any(refusal.admitted for refusal in refusals)
    assert world.admit().admitted
