"""What the readiness to retry costs a task that succeeds at once, beside tenacity's decorator and its loop."""

from __future__ import annotations

__all__ = ["measure"]

import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from figures import Figure, Round, Rounds, at_most
from fleet_server import Server

from coterie import Orchestrator, Policies, Retry, Task, TaskContext, Team
from coterie.breaker import BreakerPolicy
from coterie.stores.memory import MemoryStateStore

DECORATOR = "tenacity @retry"
# What this way of measuring makes of no difference at all.
CONTROL = "control: the latter without retry, beside itself"
BUDGET = 0.1

Call = Callable[[], Awaitable[None]]


async def measure(server: Server, *, quick: bool) -> list[Figure]:
    """Microseconds a call beyond the same call without retries, and how much of what tenacity's decorator adds."""
    calls, count = (300, 9) if quick else (600, 21)
    plain, gated = Orchestrator(), Orchestrator(_protected(), store=MemoryStateStore())
    plain.register_agent("agent", "agent", handler=_agent)
    retry = Retry(max_attempts=3)
    pairs: dict[str, tuple[Call, Call]] = {
        DECORATOR: (_decorated(), _work),
        "tenacity AsyncRetrying loop": (_loop(), _work),
        "coterie, a plain task with retry": (_execute(plain, retry), _execute(plain, None)),
        "coterie, a task with a breaker, and retry": (_execute(gated, retry), _execute(gated, None)),
        CONTROL: (_execute(gated, None), _execute(gated, None)),
    }
    whole: dict[str, list[float]] = {name: [] for name in pairs}
    subjects = {name: _beyond(*pair, calls, whole[name]) for name, pair in pairs.items()}
    rounds = Rounds("retries on success, microseconds beyond the call without", subjects, count=count)
    await rounds.run()
    await gated.pipeline.aclose()
    tenacity = statistics.median(rounds.samples[DECORATOR])
    figures = []
    for name, samples in rounds.samples.items():
        # Differences of noisy figures: the medians are compared, as a round's own ratio may be anything.
        more = statistics.median(samples)
        budget = at_most(BUDGET) if name.startswith("coterie") else None
        note = f"the call without: {statistics.median(whole[name]):.1f} us"
        figures.append(Figure(rounds.section, name, more, "us/call", more / tenacity, DECORATOR, budget, note, samples))
    return figures


async def _work() -> None:
    """What succeeds."""


async def _agent(task_input: dict[str, Any], context: TaskContext) -> None:
    """The same, as an agent."""


def _protected() -> Team:
    team = Team("bench")
    team.agent("agent")(_agent)
    team.protect("agent", Policies(breaker=BreakerPolicy()))
    return team


def _decorated() -> Call:
    from tenacity import retry, stop_after_attempt, wait_random_exponential

    return retry(stop=stop_after_attempt(3), wait=wait_random_exponential(multiplier=0.5, max=30))(_work)


def _loop() -> Call:
    """As stamina uses it: one object a call, and an attempt as a context manager."""
    from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    async def call() -> None:
        wait = wait_random_exponential(multiplier=0.5, max=30)
        on = retry_if_exception_type(Exception)
        async for attempt in AsyncRetrying(retry=on, stop=stop_after_attempt(3), wait=wait, reraise=True):
            with attempt:
                await _work()

    return call


def _execute(orchestrator: Orchestrator, retry: Retry | None) -> Call:
    task = Task("task", "agent", retry=retry)

    async def call() -> None:
        result = await orchestrator.execute_task(task)
        assert result.state == "succeeded"

    return call


def _beyond(call: Call, without: Call, calls: int, whole: list[float]) -> Round:
    """The median of the one less the median of the other, in microseconds; they alternate call by call."""

    async def run() -> float:
        spent: tuple[list[int], list[int]] = ([], [])
        order = [(call, spent[0]), (without, spent[1])]
        for _ in range(calls):
            order.reverse()
            for one, of in order:
                began = time.perf_counter_ns()
                await one()
                of.append(time.perf_counter_ns() - began)
        more, less = (statistics.median(of) / 1e3 for of in spent)
        whole.append(less)
        return more - less

    return run
