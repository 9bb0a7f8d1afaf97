"""Faults that other circuit breakers were seen to have, one test each, on the rule that a whole fleet shares.

Who had which: a late result counted for a newer state; trials without a limit, or that nothing ever ended; counts kept
by each process alone, or lost between a read and a write; time cut to whole seconds, or read from the caller's clock.
"""

from __future__ import annotations

import pytest

from coterie._rules.timeline import SECOND
from tests.fleet.rules.breaker_world import World


def test_a_late_success_never_closes_an_open_breaker():
    world = World(failure_threshold=2)
    before = world.look().generation
    world.opened()

    view = world.record("s" * 50, generation=before)

    assert view.state == "open"


def test_a_late_failure_never_reopens_a_breaker_in_trial():
    world = World(failure_threshold=2, success_threshold=1)
    before = world.look().generation
    probe = world.tried().admit()

    assert world.record("f" * 50, generation=before).state == "half_open"
    assert world.settle(probe, "s").state == "closed"


def test_a_late_failure_never_opens_a_breaker_that_recovered():
    world = World(failure_threshold=2, success_threshold=1)
    before = world.look().generation
    world.settle(world.tried().admit(), "s")

    assert world.record("f" * 50, generation=before).state == "closed"


def test_a_late_trial_result_never_decides_the_next_trial():
    world = World(failure_threshold=1, success_threshold=1, half_open_max_calls=2).tried()
    late, failing = world.admit(), world.admit()
    world.settle(failing, "f")
    world.now += world.look().retry_after_us
    world.admit()

    assert world.settle(late, "s").state == "half_open"


def test_a_late_ignored_result_mints_no_permit():
    world = World(half_open_max_calls=2).tried()
    late, failing = world.admit(), world.admit()
    world.settle(failing, "f")
    world.now += world.look().retry_after_us
    world.admit()
    world.admit()

    for _ in range(10):
        world.settle(late, "i")

    assert world.look().probes_out == 2
    assert not world.admit().admitted


def test_a_result_ignored_twice_gives_one_permit_back():
    world = World(half_open_max_calls=2).tried()
    first = world.admit()
    world.admit()
    for _ in range(5):
        world.settle(first, "i")

    assert [world.admit().admitted for _ in range(3)] == [True, False, False]


def test_a_cancelled_call_is_neither_a_failure_nor_a_success():
    world = World(failure_threshold=5, success_threshold=1, half_open_max_calls=1).tried()
    before = world.look()

    view = world.settle(world.admit(), "i")

    assert (view.state, view.failures, view.probes_settled, view.opened) == ("half_open", 0, 0, before.opened)


def test_a_cancelled_trial_call_does_not_wedge_the_breaker():
    world = World(half_open_max_calls=1, success_threshold=1, probe_timeout_s=60.0).tried()
    world.settle(world.admit(), "i")

    assert world.settle(world.admit(), "s").state == "closed"


def test_a_killed_holder_of_a_trial_call_does_not_wedge_a_breaker_that_is_asked_all_the_time():
    world = World(half_open_max_calls=1, success_threshold=1, timeout_s=1.0, probe_timeout_s=3.0).tried()
    world.admit()  # and its process is killed

    asked = 0
    while not world.admit().admitted:
        asked += 1
        world.wait(0.1)

    assert asked == 30


def test_every_holder_killed_in_every_trial_still_leaves_a_breaker_that_recovers():
    world = World(half_open_max_calls=2, success_threshold=2, probe_timeout_s=3.0, jitter=0.0).tried()
    for _ in range(50):
        admission = world.admit()
        world.now += admission.retry_after_us

    world.now += world.look().retry_after_us + 3600 * SECOND
    world.settle(world.admit(), "s")

    assert world.settle(world.admit(), "s").state == "closed"


def test_failures_at_the_same_time_are_all_counted():
    world = World(failure_threshold=5)
    generation = world.look().generation

    for _ in range(64):  # each read the state before any was written: decisions are applied one after another
        world.record("f", generation=generation)

    assert world.look().state == "open"


def test_failures_that_no_process_alone_would_open_for_open_it_together():
    world = World(mode="count", window_calls=16, min_calls=16, failure_rate=0.5)
    generation = world.look().generation

    for _process in range(4):
        world.record("ffff", generation=generation)

    assert world.look().state == "open"


def test_one_success_elsewhere_does_not_reset_a_failure_rate():
    world = World(mode="count", window_calls=10, min_calls=10, failure_rate=0.5)

    assert world.record("ffsffsffsf").state == "open"


@pytest.mark.parametrize("part_us", [0, 1, 499_999, 999_999])
def test_no_rest_is_cut_or_stretched_to_whole_seconds(part_us: int):
    world = World(now=1_795_774_000 * SECOND + part_us, timeout_s=1.0).opened()

    world.now += SECOND - 1
    assert not world.admit().admitted
    world.now += 1

    assert world.admit().admitted


def test_sixty_four_callers_at_the_end_of_a_rest_make_as_many_trial_calls_as_permitted():
    for permitted in (1, 3, 4):
        world = World(half_open_max_calls=permitted, success_threshold=1).tried()

        assert sum(world.admit().admitted for _ in range(64)) == permitted


def test_callers_of_a_trial_that_fails_stampede_no_more_than_the_first():
    world = World(half_open_max_calls=3).tried()
    admissions = [world.admit() for _ in range(64)]
    for admission in admissions:
        if admission.permit:
            world.settle(admission, "f")

    assert world.look().opened == 2
    assert not any(world.admit().admitted for _ in range(64))


def test_no_rest_depends_on_the_time_zone_or_the_callers_clock():
    operations = [World(timeout_s=60.0, now=now).opened().look() for now in (0, 1_795_774_000 * SECOND)]

    assert {view.retry_after_us for view in operations} == {60 * SECOND}


def test_rests_grow_for_the_whole_fleet():
    world = World(timeout_s=10.0, timeout_growth=2.0, failure_threshold=1)
    for _process in range(3):  # whoever happens to try
        world.tried()
        world.settle(world.admit(), "f")

    assert world.look().retry_after_us == 80 * SECOND


def test_hanging_trial_calls_end_a_trial():
    world = World(half_open_max_calls=3, probe_timeout_s=60.0, round_timeout_s=60.0).tried()
    for _ in range(3):
        world.admit()
    world.wait(60)

    assert world.look().state == "open"


def test_more_calls_than_permitted_never_slip_through_at_the_switch():
    world = World(half_open_max_calls=2, success_threshold=2).tried()

    passed = 0
    for number in range(20):
        admission = world.admit()
        passed += admission.admitted
        if admission.permit and number % 2:
            world.settle(admission, "i")
            passed -= 1

    assert passed == 2


def test_a_view_is_a_value_and_holds_no_chain_of_earlier_refusals():
    world = World().opened()

    refusals = [world.admit() for _ in range(3)]

    assert refusals[0] is not refusals[1]
    assert refusals[0] == refusals[1] == refusals[2]
