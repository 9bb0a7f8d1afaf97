"""What opens a circuit breaker, and how long it rests."""

from __future__ import annotations

import pytest

from coterie._rules.breaker import force, record, settle
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.timeline import SECOND
from coterie.errors import Misuse
from tests.fleet.rules.breaker_world import EPOCH, NAME, World

COUNT = {"mode": "count", "window_calls": 10, "min_calls": 4, "failure_rate": 0.5}
TIME = {"mode": "time", "window_s": 10, "min_calls": 4, "failure_rate": 0.5}


# Closed: what opens it.


def test_a_new_breaker_is_closed_and_stores_nothing_for_a_call_that_passes():
    world = World()

    admission = world.admit()

    assert admission.admitted
    assert (admission.state, admission.permit, admission.generation) == ("closed", None, 0)
    assert world.state is None


def test_it_opens_at_the_threshold_of_failures_in_a_row():
    world = World(failure_threshold=3)

    assert world.record("ff").state == "closed"
    view = world.record("f")

    assert (view.state, view.changed) == ("open", "closed>open")


def test_a_success_between_failures_begins_the_row_again():
    world = World(failure_threshold=3)

    view = world.record("ffsff")

    assert (view.state, view.failures) == ("closed", 2)


def test_a_slow_success_ends_a_row_and_a_slow_failure_continues_it():
    world = World(failure_threshold=3, slow_call_s=1.0)

    assert world.record("fft").failures == 0
    assert world.record("fgf").state == "open"


def test_failures_of_all_processes_count_together():
    world = World(failure_threshold=3)
    generation = world.look().generation

    for _process in range(3):
        view = world.record("f", generation=generation)

    assert view.state == "open"


def test_a_share_that_is_reached_opens_it():
    world = World(**COUNT)

    assert world.record("sssff").state == "closed"
    assert world.record("f").state == "open"


def test_nothing_opens_it_before_min_calls():
    world = World(**COUNT)

    assert world.record("fff").state == "closed"
    assert world.record("f").state == "open"


@pytest.mark.parametrize("mode", [COUNT, TIME])
def test_a_success_that_fills_min_calls_may_be_the_call_that_opens_it(mode: dict):
    world = World(**mode)

    assert world.record("fff").state == "closed"
    assert world.record("s").state == "open"


@pytest.mark.parametrize("mode", [COUNT, TIME])
def test_a_slow_success_may_be_the_call_that_opens_it(mode: dict):
    world = World(**mode, slow_call_s=1.0, slow_rate=0.5)

    assert world.record("sst").state == "closed"
    assert world.record("t").state == "open"


def test_slow_calls_do_not_count_where_the_policy_knows_no_slowness():
    assert World(**COUNT).record("tttttttt").state == "closed"


def test_a_count_window_forgets_the_oldest_call():
    world = World(**COUNT)
    world.record("ssssffss")

    view = world.record("ssssssss")

    assert (view.calls, view.failures) == (10, 0)


def test_a_time_window_forgets_by_the_second():
    world = World(now=EPOCH - EPOCH % SECOND, **TIME)
    world.record("fff")

    world.wait(9.999_999)
    assert world.look().failures == 3
    world.wait(0.000_001)
    assert world.look().failures == 0


def test_a_batch_counts_at_the_instant_of_its_arrival():
    world = World(**TIME)
    world.record("f")
    world.wait(10)

    assert world.record("fff").state == "closed"
    assert world.record("s").state == "open"


def test_what_follows_the_opening_call_in_a_batch_is_of_an_older_generation():
    world = World(failure_threshold=2)

    view = world.record("ffssssff")

    assert (view.state, view.opened, len(world.views)) == ("open", 1, 1)
    assert world.record("", generation=0) == world.look()


def test_an_empty_batch_changes_nothing():
    world = World()

    world.record("")

    assert world.state is None


@pytest.mark.parametrize("run", [("x", 1), ("i", 1), ("s", 0), ("s", -1), ("s", 1_000_001), ("s", 1.0), (), ("s",)])
def test_a_batch_that_is_none_is_refused(run: tuple):
    with pytest.raises(Misuse):
        record(NAME, BreakerPolicy(), generation=0, runs=[("s", 1), run], chance=0)


@pytest.mark.parametrize("chance", [-1, 1_000_000, 0.5, True])
def test_a_chance_that_is_none_is_refused(chance: object):
    with pytest.raises(Misuse, match="chance"):
        force(NAME, BreakerPolicy(), to="open", chance=chance)  # type: ignore[arg-type]


def test_an_unknown_end_of_a_trial_call_is_refused():
    with pytest.raises(Misuse, match="'x'"):
        settle(NAME, BreakerPolicy(), permit_id="1", generation=1, code="x", chance=0)


def test_a_state_that_nobody_knows_cannot_be_forced():
    with pytest.raises(Misuse, match="'ajar'"):
        World().force("ajar")


# Open.


def test_an_open_breaker_refuses_until_its_time_is_over_to_the_microsecond():
    world = World(timeout_s=60.0).opened()

    refused = world.admit()
    world.now += refused.retry_after_us - 1
    assert not world.admit().admitted
    world.now += 1

    assert refused.retry_after_us == 60 * SECOND
    assert world.admit().admitted


def test_until_is_on_the_stores_clock():
    view = World(timeout_s=60.0).opened().look()

    assert view.until_us == EPOCH + 60 * SECOND


def test_a_refusal_writes_nothing():
    world = World().opened()
    writes = world.writes

    for _ in range(10):
        world.wait(1)
        world.admit()

    assert world.writes == writes


def test_an_open_breaker_whose_time_is_over_says_that_a_call_would_pass():
    view = World().tried().look()

    assert (view.state, view.retry_after_us) == ("open", 0)


def test_each_failed_trial_makes_the_next_rest_longer_up_to_the_most():
    world = World(timeout_s=60.0, timeout_growth=2.0, max_timeout_s=200.0).opened()

    rests = []
    for _ in range(4):
        rests.append(world.look().retry_after_us / SECOND)
        world.now += world.look().retry_after_us
        world.settle(world.admit(), "f")

    assert rests == [60, 120, 200, 200]
    assert world.look().opened == 5


def test_a_breaker_that_closed_rests_as_long_as_the_first_time_again():
    world = World(timeout_s=60.0, success_threshold=1).tried()
    world.settle(world.admit(), "f")
    world.now += world.look().retry_after_us
    world.settle(world.admit(), "s")

    view = world.opened().look()

    assert (view.retry_after_us, view.opened) == (60 * SECOND, 1)


@pytest.mark.parametrize(("chance", "rest"), [(0, 60.0), (500_000, 57.0), (999_999, 54.00006)])
def test_chance_shortens_a_rest_by_less_than_the_jitter(chance: int, rest: float):
    world = World(timeout_s=60.0, jitter=0.1)
    world.chance = chance

    assert world.opened().look().retry_after_us == round(rest * SECOND)


def test_a_rest_is_never_longer_than_the_most_and_never_nothing():
    world = World(timeout_s=0.001, max_timeout_s=0.001, jitter=0.999999, timeout_growth=1000)
    world.chance = 999_999

    assert 0 < world.opened().look().retry_after_us <= 1000
