"""The blocking form: the same, in the thread that calls."""

from __future__ import annotations

import threading

import pytest

from coterie.errors import (
    BreakerOpen,
    Misuse,
)
from coterie.policies import Fallback, Policies
from coterie.protect import this_call
from tests.fleet.joins.flaky import AT_ONCE, TWICE


def test_the_blocking_form_runs_in_the_callers_thread(protect):
    blocking = protect(retry=AT_ONCE).blocking()
    tries = []

    @blocking
    def ask(n: int) -> int:
        tries.append((this_call().attempt, threading.current_thread()))
        if len(tries) == 1:
            raise ValueError("once")
        return n + 1

    assert ask(1) == 2
    assert tries == [(1, threading.current_thread()), (2, threading.current_thread())]


def test_the_blocking_form_knows_failures_fallbacks_and_blocks(protect):
    policies = Policies(breaker=TWICE, fallback=[Fallback(value="none")], max_wait_s=0)
    blocking = protect(policies).blocking()

    def fail() -> str:
        raise ValueError("down")

    assert blocking.call(fail) == "none"
    with pytest.raises(ValueError, match="mine of svc"), blocking.admit() as call:
        raise ValueError(f"mine of {call.agent_id}")
    with pytest.raises(BreakerOpen), blocking.admit():
        pytest.fail("the block ran")


def test_the_blocking_form_lets_an_interruption_through(protect):
    blocking = protect(capacity=1).blocking()

    def interrupted() -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            blocking.call(interrupted)
    with blocking:
        assert blocking.call(lambda: 1) == 1
    with pytest.raises(Misuse, match="closed"):
        blocking.call(lambda: 1)


async def test_the_blocking_form_is_refused_where_a_loop_runs(protect):
    with pytest.raises(Misuse, match="inside a running event loop"):
        protect().blocking().call(lambda: 1)
    with pytest.raises(Misuse, match="inside a running event loop"), protect().blocking().admit():
        pytest.fail("entered")
