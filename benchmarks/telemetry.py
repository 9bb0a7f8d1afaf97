"""What spans cost: a plan's tasks behind a breaker, a pool and a rate limit, with nobody who records and with the SDK.

    make bench-telemetry
    make bench-telemetry BENCH_ARGS='--quick --json /tmp/telemetry.json'

CPU time a task, all threads of the process, the exporter's too; in memory, so that no store and no network hides it.
Whatever is compared runs in turn, in every round; a ratio is the median of the rounds' ratios. Exits with 0 also where
a budget does not hold, unless --strict.

What nobody records is compared with the same code that does not even ask whether somebody does. What the instrumented
code costs beside code without instruments, no single process can tell: compare two checkouts with plan_scheduling.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from figures import Budget, Figure, Round, Rounds, at_most
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import coterie.engine
from coterie import Agent, Orchestrator, Plan, Task, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.quota import Quota
from coterie.policies import Policies

UNASKED, NOBODY, SAMPLED_OUT = "nobody is asked", "nobody records", "SDK, sampled out"
FLOOR, SDK = "floor: three empty spans of the SDK", "SDK, batches, in memory"
POLICIES = Policies(
    breaker=BreakerPolicy(), pool=PoolPolicy(), limits={"requests": Quota(rate_per_s=1e6, burst=1_000_000)}
)
TASKS = 300
_OFF = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
_EXPORTER = InMemorySpanExporter()
_ON = TracerProvider(shutdown_on_exit=False)
_ON.add_span_processor(BatchSpanProcessor(_EXPORTER))
MOST_WITHOUT, MOST_WITH = 1.03, 1.15


async def nothing(task_input: dict[str, Any]) -> None:
    """An agent that costs nothing: all that is measured is what stands around it."""


async def a_millisecond(task_input: dict[str, Any]) -> None:
    """An agent that computes for a millisecond, as one does that builds a prompt and reads an answer."""
    until = time.thread_time() + 0.001
    while time.thread_time() < until:
        pass


def _with_empty_spans(agent: Callable[..., Any]) -> Callable[..., Any]:
    """The agent, and beside it what no instrument can do without: as many spans as a task has, which say nothing."""
    tracer = _ON.get_tracer("bench")

    async def work(task_input: dict[str, Any]) -> None:
        for _ in range(3):
            tracer.start_span("empty").end()
        await agent(task_input)

    return work


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a budget does not hold")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    figures = asyncio.run(measured(count=5 if options.quick else 15))
    print(f"opentelemetry-sdk {version('opentelemetry-sdk')}, load {os.getloadavg()[0]:.1f} at the end")
    section = ""
    for figure in figures:
        if figure.section != section:
            section = figure.section
            print(f"\n{section}")
        print(figure.line())
    if options.json:
        options.json.write_text(json.dumps([figure.record() for figure in figures], indent=1))
    missed = [figure for figure in figures if figure.verdict == "misses"]
    return 1 if missed and options.strict else 0


async def measured(*, count: int) -> list[Figure]:
    """Every section."""
    figures: list[Figure] = []
    for section, agent, policies in (
        ("breaker, pool and limit; an agent that does nothing", nothing, POLICIES),
        ("breaker, pool and limit; an agent that computes for 1 ms", a_millisecond, POLICIES),
        ("no policies; an agent that does nothing", nothing, None),
    ):
        subjects: dict[str, Round] = {
            UNASKED: _round(_unasked, agent, policies),
            NOBODY: _round(_nobody, agent, policies),
            SAMPLED_OUT: _round(_sampled_out, agent, policies),
            FLOOR: _round(_unasked_but_on, _with_empty_spans(agent), policies),
            SDK: _round(_sdk, agent, policies),
        }
        rounds = Rounds(section, subjects, count=count)
        await rounds.run()
        budgets: dict[str, Budget] = (
            {} if policies is None else {NOBODY: at_most(MOST_WITHOUT), SDK: at_most(MOST_WITH)}
        )
        figures += [
            rounds.figure(name, "us/task", base=UNASKED, scale=1e6, budget=budgets.get(name)) for name in subjects
        ]
    return figures


def _round(around: Callable[[], Any], agent: Callable[..., Any], policies: Policies | None) -> Round:
    # Chains of ten, so that some wait for others, and some for a slot.
    tasks = [Task(f"t{i}", "worker", depends_on=[f"t{i - 1}"] if i % 10 else []) for i in range(TASKS)]
    plan = Plan("bench", tasks)

    async def run() -> float:
        team = Team("bench", policies={"worker": policies} if policies is not None else {})
        team.add(Agent("one", "worker", agent, capacity=64))
        orchestrator = Orchestrator(team)
        with around():
            began = time.process_time()
            await orchestrator.execute_workflow(plan)
            seconds = time.process_time() - began
        await orchestrator.pipeline.aclose()
        return seconds / TASKS

    return run


@contextmanager
def _provider(provider: TracerProvider | None) -> Iterator[None]:
    # The one way to have none again.
    before, trace._TRACER_PROVIDER = trace._TRACER_PROVIDER, provider  # noqa: SLF001
    try:
        yield
    finally:
        trace._TRACER_PROVIDER = before  # noqa: SLF001


@contextmanager
def _unasked() -> Iterator[None]:
    asks = coterie.engine.open_trace
    coterie.engine.open_trace = lambda *_, **__: None
    try:
        with _provider(None):
            yield
    finally:
        coterie.engine.open_trace = asks


@contextmanager
def _unasked_but_on() -> Iterator[None]:
    with _unasked():
        yield
    _ON.force_flush()
    _EXPORTER.clear()


@contextmanager
def _nobody() -> Iterator[None]:
    with _provider(None):
        yield


@contextmanager
def _sampled_out() -> Iterator[None]:
    with _provider(_OFF):
        yield


@contextmanager
def _sdk() -> Iterator[None]:
    with _provider(_ON):
        yield
    _ON.force_flush()
    if len(_EXPORTER.get_finished_spans()) < 2 * TASKS:
        raise RuntimeError("the spans were not exported: nothing was measured")
    _EXPORTER.clear()


if __name__ == "__main__":
    sys.exit(main())
