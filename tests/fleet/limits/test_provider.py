"""A provider that counts requests when they arrive refuses none, if the quota leaves headroom for the way to it."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie._rules.quota import Quota
from coterie._rules.timeline import SECOND
from tests.fleet.limits.quota_histories import Story
from tests.fleet.limits.strict_provider import OK, TOO_MANY, Request, SlidingWindow, serving
from tests.support.redis_servers import valkey

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
PATIENCE_S = 120.0
RUNS = 3
# Of the way that a quota leaves headroom for, the machine's own share; the rest is drawn.
MACHINE_S = 0.3


@pytest.fixture(scope="module", params=["sqlite", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path_factory.mktemp('provider')}/state.db"
    else:
        with valkey() as server:
            yield server.url


# The rule: ways of any length up to the longest, in whole microseconds.


def admissions(quota: Quota, count: int, pauses_us: Iterator[int]) -> list[int]:
    """When `count` callers may go, each of whom asks so long after the one before."""
    story = Story({"requests": quota})
    for _ in range(count):
        story.reserve({"requests": 1}, 86_400.0)
        story.move(next(pauses_us))
    return [one.go for one in story.log]


def bunched(admitted: list[int], window_us: int, way_us: int) -> list[int]:
    """Arrivals, where the first of each `window_us + way_us` take the longest: all of it comes within a window."""
    period_us = window_us + way_us
    return sorted(at + max(way_us - (at - admitted[0]) % period_us, 0) for at in admitted)


def answers(arrivals: list[int], limit: int, window_us: int) -> list[int]:
    window = SlidingWindow(limit, window_us)
    return [window.answer(arrival) for arrival in arrivals]


@EXAMPLES
@given(
    st.data(),
    st.integers(2, 60),
    st.sampled_from([500, 50_000, SECOND, 60 * SECOND]),
    st.randoms(use_true_random=False),
)
def test_with_headroom_no_arrival_is_one_too_many(
    data: st.DataObject, limit: int, window_us: int, chance: random.Random
):
    way_us = data.draw(st.integers(0, 2 * window_us), "way_us")
    quota = Quota.per_window(
        limit, (window_us + way_us) / SECOND, burst=data.draw(st.integers(1, max(1, limit // 2)), "burst")
    )
    longest_us = data.draw(st.sampled_from([0, 2 * (window_us + way_us) // limit]), "longest pause")
    pauses_us = iter(lambda: chance.randint(0, longest_us), -1)

    admitted = admissions(quota, 3 * limit, pauses_us)

    ways = [chance.choice([0, way_us, chance.randint(0, way_us)]) for _ in admitted]
    arrivals = sorted(map(int.__add__, admitted, ways))
    assert answers(arrivals, limit, window_us) == [OK] * len(admitted)
    assert answers(bunched(admitted, window_us, way_us), limit, window_us) == [OK] * len(admitted)


@pytest.mark.parametrize("headroom_s", [0.0, 1.0, 1.8])
def test_with_less_headroom_arrivals_that_bunch_are_too_many(headroom_s: float):
    limit, window_s, way_s = 100, 10, 2
    quota = Quota.per_window(limit, window_s + headroom_s, burst=5)

    admitted = admissions(quota, 300, itertools.repeat(0))

    assert TOO_MANY not in answers(admitted, limit, window_s * SECOND)
    assert TOO_MANY in answers(bunched(admitted, window_s * SECOND, way_s * SECOND), limit, window_s * SECOND)


# Processes, on a store, with a provider that counts by its own clock.


def call_provider(
    url: str, *, processes: int, callers: int, limit: int, window_s: float, way_s: float, times: int
) -> list[Request]:
    """What the provider saw of so many processes, each of which calls it so many times."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    window = SlidingWindow(limit, round(window_s * SECOND))
    workers: list[subprocess.Popen[bytes]] = []
    with serving(window, processes * callers) as provider:
        common = {
            "url": url,
            "name": f"provider-{seed}",
            "port": provider.port,
            "limit": limit,
            "window_s": window_s + way_s,
            "burst": limit // 20,
            "delay_s": way_s - MACHINE_S,
            "callers": callers,
            "times": times,
        }
        try:
            for number in range(processes):
                given = json.dumps({**common, "seed": seed + number})
                command = [sys.executable, "-m", "tests.fleet.limits.provider_caller", given]
                workers.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}))
            codes = [worker.wait(PATIENCE_S) for worker in workers]
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.kill()
                worker.wait()
    assert codes == [0] * processes
    assert len(provider.requests) == processes * times
    return provider.requests


def used(requests: list[Request], quota: Quota) -> float:
    """The share of the rate that was used between the first admission and the last."""
    admitted = [request.admitted_us for request in requests]
    span_s = (max(admitted) - min(admitted)) / SECOND
    return (len(admitted) - quota.burst) / (span_s * quota.rate_per_s)


def nobody_is_refused(url: str, *, limit: int, window_s: float, way_s: float, **fleet: int) -> None:
    for _ in range(RUNS):
        requests = call_provider(url, limit=limit, window_s=window_s, way_s=way_s, **fleet)
        ways = [request.way_us for request in requests]
        if min(ways) >= 0 and max(ways) <= way_s * SECOND:
            break
        # A machine that stalls makes ways longer than the quota was told: that run proves nothing.
    else:
        pytest.fail(
            f"in none of {RUNS} runs was every way within {way_s} s; in the last: {min(ways)} to {max(ways)} us"
        )

    assert [request.answer for request in requests] == [OK] * len(requests)
    assert used(requests, Quota.per_window(limit, window_s + way_s, burst=limit // 20)) >= 0.95


def test_a_strict_provider_never_refuses_four_processes_that_leave_headroom(url: str):
    nobody_is_refused(url, processes=4, callers=24, limit=200, window_s=1.0, way_s=0.8, times=75)


@pytest.mark.full
def test_a_strict_provider_never_refuses_eight_processes_for_long(url: str):
    nobody_is_refused(url, processes=8, callers=16, limit=400, window_s=3.0, way_s=0.8, times=300)
