"""Generations, and the states that people put a breaker into."""

from __future__ import annotations

import pytest

from coterie._rules.timeline import SECOND
from tests.fleet.rules.breaker_world import World

COUNT = {"mode": "count", "window_calls": 10, "min_calls": 4, "failure_rate": 0.5}


# Generations.


def test_every_transition_has_a_greater_generation():
    world = World(failure_threshold=1, success_threshold=1).tried()
    world.settle(world.admit(), "f")
    world.now += world.look().retry_after_us
    world.settle(world.admit(), "s")
    for to in ("forced_open", "disabled", "metrics_only", "open", "closed"):
        world.force(to)
    world.reset()

    generations = [view.generation for view in world.views]

    assert len(generations) == 11
    assert generations == sorted(set(generations))
    assert world.look().generation == generations[-1]


def test_outcomes_of_another_generation_are_ignored():
    world = World(failure_threshold=1)
    world.force("closed")
    world.reset()

    assert world.record("f", generation=0).state == "closed"
    assert world.record("f", generation=world.look().generation + 1).state == "closed"


def test_outcomes_reported_while_open_or_in_a_trial_are_ignored():
    world = World(success_threshold=1).opened()
    assert world.record("sssss").state == "open"

    world.now += world.look().retry_after_us
    world.admit()

    assert world.record("fffff").state == "half_open"
    assert world.record("s").probes_settled == 0


def test_generations_go_on_above_those_of_a_state_that_was_lost():
    world = World(failure_threshold=1).opened()
    before = world.look().generation

    world.state = None
    world.wait(1)

    assert world.look().generation == 0
    assert world.opened().look().generation > before


# By hand.


def test_forced_open_refuses_for_ever():
    world = World(timeout_s=60.0)
    world.force("forced_open")

    for _ in range(5):
        world.wait(86_400)
        admission = world.admit()
        assert (admission.admitted, admission.retry_after_us) == (False, 60 * SECOND)
    assert world.look().until_us == 0


def test_disabled_neither_records_nor_refuses():
    world = World(failure_threshold=1)
    world.force("disabled")

    assert world.record("fffff").failures == 0
    assert world.admit().admitted
    assert world.look().state == "disabled"


def test_metrics_only_records_and_never_refuses():
    world = World(**COUNT)
    world.force("metrics_only")

    view = world.record("ffffff")

    assert (view.state, view.failures, view.calls) == ("metrics_only", 6, 6)
    assert world.admit().admitted


@pytest.mark.parametrize("forced", ["forced_open", "disabled", "metrics_only"])
@pytest.mark.parametrize("way", ["auto", "closed", "reset"])
def test_a_forced_state_is_left_by_hand(forced: str, way: str):
    world = World()
    world.force(forced)
    world.wait(86_400)
    assert world.admit().state == forced

    view = world.reset() if way == "reset" else world.force(way)

    assert (view.state, view.changed) == ("closed", f"{forced}>closed")


@pytest.mark.parametrize("state", ["closed", "open", "half_open"])
def test_auto_leaves_a_state_that_nobody_forced(state: str):
    world = World()
    if state != "closed":
        world.tried() if state == "half_open" else world.opened()
    if state == "half_open":
        world.admit()

    assert (world.force("auto").state, world.look().state) == (state, state)


@pytest.mark.parametrize("state", ["forced_open", "disabled", "metrics_only", "closed"])
def test_forcing_the_state_that_it_is_in_changes_nothing(state: str):
    world = World()
    world.force(state)
    writes = world.writes

    assert world.force(state).changed is None
    assert world.writes == writes


def test_forced_to_open_it_rests_and_is_tried():
    world = World(timeout_s=60.0)

    view = world.force("open")
    world.wait(60)

    assert (view.state, view.opened, view.retry_after_us) == ("open", 1, 60 * SECOND)
    assert world.admit().state == "half_open"


def test_forced_to_open_again_it_rests_as_long_anew():
    world = World(timeout_s=60.0)
    world.force("open")
    world.wait(50)

    view = world.force("open")

    assert (view.changed, view.opened, view.retry_after_us) == ("open>open", 1, 60 * SECOND)


def test_a_reset_closes_and_forgets_and_tells_everybody():
    world = World(failure_threshold=5)
    world.record("ffff")

    view = world.reset()

    assert (view.changed, view.failures) == ("closed>closed", 0)
    assert world.views == [view]
    assert world.record("ffff").state == "closed"


def test_a_reset_makes_a_running_trial_call_count_for_nothing():
    world = World(failure_threshold=1).tried()
    admission = world.admit()
    world.reset()

    assert world.settle(admission, "f").state == "closed"
