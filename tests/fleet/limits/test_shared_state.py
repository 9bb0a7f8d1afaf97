"""A state that is decided without its store: who learns of it, whether they have set logging up or not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from coterie import CircuitBreaker, Event, Quota, RateLimiter, ResourcePool, RetryBudget
from coterie.errors import Misuse
from coterie.testing import ManualClock
from tests.fleet.limits.flaky import FlakyStore

QUOTA = Quota(rate_per_s=1, burst=10)
SILENT = """
import asyncio
from coterie import Quota, RateLimiter
from tests.fleet.limits.flaky import FlakyStore
{setup}
async def main():
    store = FlakyStore()
    store.down = True
    for name in ("first", "second"):
        limiter = RateLimiter(name, Quota(rate_per_s=1, burst=10), store=store, on_store_failure={how!r})
        for _ in range(3):
            try:
                await limiter.acquire()
            except Exception:
                pass
asyncio.run(main())
"""


def said(how: str, setup: str = "") -> str:
    program = SILENT.format(how=how, setup=setup)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stderr


def test_a_program_without_logging_is_warned_once_that_it_decides_alone():
    told = said("fail_open")

    assert told.count("RuntimeWarning") == 1
    assert "state.store_failed limit/first: until it answers again, calls are decided in this process alone" in told
    assert "second" not in told


def test_a_program_without_logging_is_told_of_a_refusal_by_the_refusal_alone():
    assert said("fail_closed") == ""


def test_a_program_with_logging_is_told_by_it():
    told = said("fail_open", "import logging; logging.basicConfig()")

    assert told.count("WARNING:coterie.state:state.store_failed") == 2
    assert "RuntimeWarning" not in told


def test_a_program_that_makes_errors_of_warnings_loses_no_call_by_it():
    assert said("fail_open", "import warnings; warnings.simplefilter('error')") == ""


async def test_a_listener_is_told_that_the_store_failed_and_that_it_is_back():
    clock, events = ManualClock(), []
    store = FlakyStore(clock=clock)
    limiter = RateLimiter("api", QUOTA, store=store, on_store_failure="fail_open", on_event=events.append, clock=clock)

    for down in (True, True, False):
        store.down = down
        await limiter.acquire()
        clock.advance(2)

    assert [(event.name, event.fields["state"]) for event in events] == [
        ("state.store_failed", "limit/api"),
        ("state.store_recovered", "limit/api"),
    ]


async def test_a_listener_that_fails_is_logged(caplog: pytest.LogCaptureFixture):
    def fail(event: Event) -> None:
        raise ZeroDivisionError

    store = FlakyStore()
    store.down = True

    await RetryBudget("api", store=store, on_event=fail).take()

    assert "state.listener_failed retry/api" in caplog.text


@pytest.mark.parametrize(
    "make",
    [
        lambda store: CircuitBreaker("b", store=store),
        lambda store: RateLimiter("l", QUOTA, store=store),
        lambda store: ResourcePool("p", store=store),
        lambda store: RetryBudget("r", store=store),
    ],
    ids=["breaker", "limiter", "pool", "retries"],
)
def test_a_url_is_no_store(make: Any):
    with pytest.raises(Misuse, match="was given a URL as its store") as refused:
        make("redis://user:secret@host/0")

    assert "open_state_store" in str(refused.value)
    assert "secret" not in str(refused.value)
