"""What leaves a protected call untouched, and what becomes of calls when it is closed."""

from __future__ import annotations

import asyncio
import copy
from contextvars import ContextVar
from typing import Any

import pytest

from coterie._rules.pool_policy import PoolPolicy
from coterie.errors import (
    Misuse,
)
from coterie.policies import Fallback, Policies
from coterie.protect import Protected
from tests.fleet.joins.flaky import AT_ONCE, TWICE, Flaky, SchedulersWord, opened, queued

# What passes through


@pytest.mark.parametrize("word", [SchedulersWord("deferred"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
async def test_control_flow_passes_untouched_and_gives_its_place_back(protect, word):
    protected = protect(Policies(breaker=TWICE, max_wait_s=0), retry=AT_ONCE, capacity=1)

    for _ in range(3):
        with pytest.raises(type(word)) as raised:
            await _outside_of_tasks(protected, word)
        assert raised.value is word

    assert not await opened(protected)


async def test_control_flow_leaves_a_called_function_untouched_too(protect):
    protected = protect(Policies(fallback=[Fallback(value=1)], max_wait_s=0), retry=AT_ONCE, capacity=1)
    word = SchedulersWord("paused")
    flaky = Flaky(word)

    with pytest.raises(SchedulersWord) as raised:
        await protected.call(flaky)

    assert raised.value is word
    assert len(flaky.calls) == 1
    assert await protected.call(Flaky(), 1) == {"args": [1]}


async def _outside_of_tasks(protected: Protected, word: BaseException) -> None:
    async with protected.admit():
        raise word


async def test_cancellation_passes_untouched_and_gives_its_place_back(protect):
    protected = protect(Policies(breaker=TWICE, max_wait_s=0), retry=AT_ONCE, capacity=1)
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    for _ in range(3):
        started.clear()
        task = asyncio.ensure_future(protected.call(hang))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert not await opened(protected)


async def test_cancelled_while_waiting_it_leaves_the_queue(protect):
    protected = protect(Policies(max_wait_s=30), capacity=1)
    flaky = Flaky()

    async with protected.admit():
        waiting = asyncio.ensure_future(protected.call(flaky))
        await queued(protected, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert await protected.call(Flaky(), "next") == {"args": ["next"]}
    assert flaky.calls == []


async def test_a_time_out_in_the_code_is_a_failure_and_one_around_the_call_is_none(protect):
    protected = protect(Policies(breaker=TWICE, max_wait_s=0))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await protected.call(asyncio.Event().wait)
    assert not await opened(protected)


async def test_the_code_runs_in_the_callers_task_and_context(protect):
    name: ContextVar[str] = ContextVar("name")
    name.set("before")

    async def work() -> asyncio.Task[Any] | None:
        assert name.get() == "before"
        name.set("after")
        return asyncio.current_task()

    assert await protect().call(work) is asyncio.current_task()
    assert name.get() == "after"


# Ends


async def test_a_closed_one_refuses_and_says_so(protect):
    async with protect() as protected:
        await protected.call(Flaky())

    with pytest.raises(Misuse, match="closed"):
        await protected.call(Flaky())
    with pytest.raises(Misuse, match="closed"):
        async with protected:
            pytest.fail("entered")
    await protected.aclose()


async def test_closing_ends_those_that_wait(protect, monkeypatch):
    monkeypatch.setattr("coterie.protect.home.CLOSE_GRACE_S", 0.05)
    protected = protect(Policies(max_wait_s=30), capacity=1)
    started, release = asyncio.Event(), asyncio.Event()

    async def hold() -> str:
        started.set()
        await release.wait()
        return "done"

    holding = asyncio.ensure_future(protected.call(hold))
    await started.wait()
    waiting = asyncio.ensure_future(protected.call(Flaky()))
    await queued(protected, 1)

    await protected.aclose()

    with pytest.raises(Misuse, match="closed while a call"):
        await waiting
    release.set()
    with pytest.raises(Misuse, match="closed while a call"):
        await holding


def test_one_object_serves_one_event_loop_after_another(protect):
    protected = protect(Policies(breaker=TWICE, pool=PoolPolicy(), max_wait_s=0))

    assert [asyncio.run(protected.call(Flaky(), n))["args"] for n in range(3)] == [[0], [1], [2]]


def test_a_copy_is_the_same_object(protect):
    protected = protect()

    assert copy.deepcopy({"operator": [protected]})["operator"][0] is protected


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("a b", {}, "'a b' is not a usable name"),
        ("svc", {"store": "nowhere"}, "scheme"),
        ("svc", {"agents": {}}, "agents is empty"),
        ("svc", {"capacity": 0}, "capacity 0"),
        ("svc", {"agents": {"a/b": 1}}, "'a/b' is not a usable name"),
        ("svc", {"run_id": "a b"}, "workflow id"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(name: str, settings: dict[str, Any], message: str):
    with pytest.raises(Misuse, match=message):
        Protected(name, Policies(), **{"store": "memory://", **settings})
    with pytest.raises(Misuse, match=r"pass coterie\.Policies"):
        Protected("svc", {"breaker": {}}, store="memory://")  # type: ignore[arg-type]
