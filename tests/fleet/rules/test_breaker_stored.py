"""What a breaker tells and stores, what it refuses to read, and what a clock may do to it."""

from __future__ import annotations

import json

import pytest

from coterie._rules.breaker import look, read_view, record
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.timeline import SECOND
from coterie.errors import StateFormatError
from tests.fleet.rules.breaker_world import EPOCH, NAME, World

COUNT = {"mode": "count", "window_calls": 10, "min_calls": 4, "failure_rate": 0.5}
TIME = {"mode": "time", "window_s": 10, "min_calls": 4, "failure_rate": 0.5}


# What is told and stored.


def test_each_transition_is_told_as_a_compact_view():
    world = World(failure_threshold=1)

    decided = record(NAME, world.policy, generation=0, runs=[("f", 1)], chance=0)(None, EPOCH)

    (signal,) = decided.signals
    assert signal.channel == f"breaker/{NAME}"
    assert " " not in signal.message
    assert read_view(signal.message) == decided.result


def test_a_look_changes_nothing_and_sees_what_holds():
    world = World().tried()
    world.admit()
    world.wait(1000)

    decided = look(NAME, world.policy)(world.state, world.now)

    assert decided.state is world.state
    assert not decided.signals
    assert (decided.result.state, decided.result.changed) == ("open", None)


def test_what_is_seen_of_a_trial_that_ran_out_is_what_the_next_decision_stores():
    world = World(timeout_s=60.0, timeout_growth=3.0).tried()
    world.chance = 777_777
    world.admit()
    world.wait(125)

    seen = world.look()
    world.chance = 1
    world.admit()

    assert world.views[-1] == read_view(json.dumps(_as_message(seen, changed="half_open>open")))


def _as_message(view, *, changed: str) -> dict:
    return {
        "state": view.state,
        "generation": view.generation,
        "t0": 0,
        "until": view.until_us,
        "retry_after": view.retry_after_us,
        "failures": view.failures,
        "calls": view.calls,
        "slow": view.slow,
        "out": view.probes_out,
        "settled": view.probes_settled,
        "opened": view.opened,
        "changed": changed,
    }


def test_an_idle_closed_breaker_stores_little():
    world = World(**TIME, half_open_max_calls=1, success_threshold=1).tried()
    world.settle(world.admit(), "s")
    for _ in range(20):
        world.record("s")
        world.wait(1)
    world.wait(60)

    world.record("")

    assert len(json.dumps(world.state)) < 90
    assert set(world.state) == {"v", "t0", "at", "state", "gen"}


def test_a_success_in_a_row_of_none_writes_nothing():
    world = World()

    world.record("sssssss")

    assert world.state is None


def test_a_policy_of_another_mode_forgets_what_was_counted():
    world = World(failure_threshold=5)
    world.record("ffff")

    world.policy = BreakerPolicy(mode="count", min_calls=4)

    assert world.look().calls == 0
    assert world.record("f").state == "closed"


def test_a_policy_with_a_lower_threshold_judges_at_the_next_call():
    world = World(mode="count", min_calls=10, failure_rate=0.9)
    world.record("ffffffffs" * 1)

    world.policy = BreakerPolicy(mode="count", min_calls=5, failure_rate=0.5)

    assert world.look().state == "closed"
    assert world.record("sss").state == "open"


def test_a_trial_under_a_policy_with_fewer_permits_still_comes_to_an_end():
    world = World(half_open_max_calls=3, success_threshold=3, probe_timeout_s=10.0, round_timeout_s=30.0).tried()
    for _ in range(3):
        world.admit()
    world.policy = BreakerPolicy(half_open_max_calls=1, success_threshold=1, probe_timeout_s=10.0, round_timeout_s=30.0)

    refused = world.admit()
    world.now += refused.retry_after_us

    assert not refused.admitted
    assert world.admit().admitted


# States that cannot be read.


def _good_states() -> list[dict]:
    closed, ring, time, open_, trial = World(), World(**COUNT), World(**TIME), World().opened(), World().tried()
    closed.record("f")
    ring.record("sf")
    time.record("sf")
    trial.admit()
    return [world.state for world in (closed, ring, time, open_, trial)]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("broken", [None, -1, 1.5, "x", [], {"x": "y"}, True])
def test_a_state_with_a_broken_value_is_refused_by_name(number: int, broken: object):
    good = _good_states()[number]
    for place in (good, good.get("round", {})):
        for key in [key for key in place if key not in ("v", "t0", "at")]:
            kept = place[key]
            place[key] = broken
            if not _harmless(key, broken):
                with pytest.raises(StateFormatError):
                    look(NAME, BreakerPolicy())(good, EPOCH)
            place[key] = kept


def _harmless(key: str, broken: object) -> bool:
    return (key == "counted" and broken is None) or (key == "permits" and broken == {})


def test_a_state_of_a_newer_version_is_refused_with_the_version():
    with pytest.raises(StateFormatError, match="format 2"):
        look(NAME, BreakerPolicy())({"v": 2, "t0": 0, "at": 0, "state": "closed", "gen": 0}, EPOCH)


@pytest.mark.parametrize(
    "rest", [{}, {"state": "closed"}, {"state": "ajar", "gen": 0}, {"state": "half_open", "gen": 1}]
)
def test_what_is_no_breaker_is_refused(rest: dict):
    with pytest.raises(StateFormatError):
        look(NAME, BreakerPolicy())({"v": 1, "t0": 0, "at": 0, **rest}, EPOCH)


# The clock.


@pytest.mark.parametrize("back_s", [1, 61, 3600, 10 * 365 * 86_400])
def test_a_clock_set_back_prolongs_a_rest_by_no_more_than_a_second(back_s: int):
    world = World(timeout_s=60.0).opened()
    world.wait(20)
    world.force("open")
    world.wait(-back_s)

    refused = world.admit()
    world.now += refused.retry_after_us

    assert 59 * SECOND <= refused.retry_after_us <= 60 * SECOND
    assert world.admit().admitted


def test_time_goes_on_after_the_clock_was_set_back_though_everybody_is_refused():
    world = World(timeout_s=60.0).opened()
    world.wait(-3600)
    for _ in range(60):
        world.admit()
        world.wait(1)

    assert world.admit().admitted
    assert world.writes == 5 + 1 + 1, "the failures, the new beginning of its time, the trial"


def test_a_clock_set_back_in_a_trial_loses_no_permit_and_gives_none_twice():
    world = World(half_open_max_calls=2, probe_timeout_s=10.0).tried()
    first = world.admit()
    world.wait(-86_400)

    world.admit()
    assert not world.admit().admitted
    world.wait(11)

    assert world.admit().admitted
    assert world.settle(first, "s").probes_settled == 0


@pytest.mark.parametrize("leap_s", [2 * 365 * 86_400, 100 * 365 * 86_400])
@pytest.mark.parametrize("number", range(5))
def test_a_clock_that_leaps_by_years_leaves_small_numbers_and_a_breaker_that_works(number: int, leap_s: int):
    world = World()
    world.state = _good_states()[number]
    world.wait(leap_s)

    world.admit()
    world.force("open")

    assert world.state["at"] < 5 * 10**13
    world.wait(world.look().retry_after_us / SECOND)
    assert world.admit().admitted


def test_a_window_of_seconds_goes_on_when_its_time_begins_anew():
    world = World(now=EPOCH - EPOCH % SECOND, **TIME)
    world.record("s")
    world.wait(50_000_000 - 2)
    world.record("ff")  # just before
    world.wait(5)

    view = world.record("s")
    world.wait(4)

    assert (view.calls, view.failures) == (3, 2)
    assert world.state["at"] < 3_700 * SECOND
    assert world.look().calls == 3
    assert world.record("f").state == "open"


def test_a_trial_goes_on_when_its_time_begins_anew():
    world = World(half_open_max_calls=2, success_threshold=2, probe_timeout_s=100.0, round_timeout_s=100.0)
    world.record("f")
    world.wait(50_000_000 - 70)
    world.tried()
    world.settle(world.admit(), "s")
    probe, before = world.admit(), world.look()
    world.wait(50)
    world.admit()

    after = world.look()

    assert (after.until_us, after.probes_out, after.probes_settled) == (before.until_us, 1, 1)
    assert world.settle(probe, "s").state == "closed"
    assert world.state["at"] < 3_700 * SECOND
