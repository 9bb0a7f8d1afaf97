"""What one process decides, the others hear of: nobody has to look."""

from __future__ import annotations

import time
from typing import Any

from tests.fleet.rules.breaker_world import World
from tests.fleet.stampede.fleet import PATIENCE_S, PROCESSES, Fleet

# Nobody looks by himself for as long as a test lasts.
NEVER = {"reconcile_s": 3600.0}
ONE = {
    "failure_threshold": 5, "jitter": 0.0, "half_open_max_calls": 1, "success_threshold": 1, "probe_timeout_s": 600.0,
}  # fmt: skip


def join(fleet: Fleet, **policy: Any) -> str:
    name = fleet.new_name()
    assert fleet.all("join", name=name, policy=ONE | policy, pace=NEVER) == ["joined"] * PROCESSES
    return name


def test_a_trip_in_one_process_is_seen_by_the_others(fleet: Fleet):
    name = join(fleet, timeout_s=600.0)

    fleet.members[0].ask("run", name=name, codes="f" * 5)

    assert fleet.all("wait", name=name, state="open") == ["open"] * PROCESSES
    assert fleet.all("work", name=name) == ["refused open"] * PROCESSES


def test_a_trial_and_its_end_in_one_process_are_seen_by_the_others(fleet: Fleet):
    name = join(fleet, timeout_s=0.05)
    prober = fleet.members[0]
    prober.ask("run", name=name, codes="f" * 5)
    while not prober.ask("hold", name=name, count=1):
        pass

    assert fleet.all("wait", name=name, state="half_open") == ["half_open"] * PROCESSES
    assert fleet.all("work", name=name) == ["refused half_open"] * PROCESSES
    prober.ask("release", code="s")

    assert fleet.all("wait", name=name, state="closed") == ["closed"] * PROCESSES
    assert fleet.all("work", name=name) == ["done"] * PROCESSES


def test_a_permit_that_comes_back_is_heard_of_by_those_who_were_refused(fleet: Fleet):
    name = join(fleet, timeout_s=0.05)
    prober, other = fleet.members[:2]
    prober.ask("run", name=name, codes="f" * 5)
    while not prober.ask("hold", name=name, count=1):
        pass
    assert other.ask("work", name=name) == "refused half_open"

    prober.ask("release", code="i")

    deadline = time.monotonic() + PATIENCE_S
    while (answer := other.ask("work", name=name)) != "done":
        assert time.monotonic() < deadline, f"{answer}, though the permit came back"


def test_a_permit_that_comes_back_is_told_of_only_if_it_was_the_last_one_to_be_had():
    world = World(half_open_max_calls=2, success_threshold=2).tried()
    first = world.admit()
    world.settle(first, "i")
    told = len(world.views)
    second, third = world.admit(), world.admit()
    refused = world.admit()
    assert not refused.admitted

    world.settle(second, "i")
    world.settle(third, "i")

    assert [(view.state, view.retry_after_us, view.changed) for view in world.views[told:]] == [("half_open", 0, None)]
    assert world.views[-1].generation == refused.generation
