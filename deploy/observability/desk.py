"""A desk that writes pages for ever, so that there is something to see: its team, and the process that runs its plans.

`coterie worker --team desk:team` performs the tasks; `python desk.py` asks for them, and shows its own metrics.
DESK_TROUBLE: the share of calls that fail (0.05). DESK_PAUSE_S: between two runs (2). DESK_PORT: of its metrics (9464).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress
from itertools import count
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

from coterie import BreakerPolicy, CloudEvent, Plan, Policies, PoolPolicy, Retry, Runtime, Task, TaskContext, Team
from coterie.telemetry.metrics import Metrics

TROUBLE = float(os.environ.get("DESK_TROUBLE", "0.05"))
PAUSE_S = float(os.environ.get("DESK_PAUSE_S", "2"))
PORT = int(os.environ.get("DESK_PORT", "9464"))
REFRESH_S = 10.0

team = Team("desk")


@team.agent("researcher", capacity=4, retry=Retry(max_attempts=3, base_s=0.2), timeout_s=5)
async def research(task_input: dict[str, Any], ctx: TaskContext) -> str:
    """Stand for a model that is billed, and that fails at times."""
    await asyncio.sleep(random.uniform(0.05, 0.6))
    ctx.report_usage(requests=1, input_tokens=900, output_tokens=150, cost_micros=4_950)
    if random.random() < TROUBLE:
        raise ConnectionError("the provider is down")
    return f"notes on {task_input['page']}"


@team.agent("writer", capacity=2, timeout_s=20)
async def write(task_input: dict[str, Any], ctx: TaskContext) -> str:
    """Stand for a slower and dearer one."""
    await asyncio.sleep(random.uniform(0.2, 1.2))
    ctx.report_usage(requests=1, input_tokens=2_000, output_tokens=800, cost_micros=18_000)
    return f"the page {task_input['page']}"


team.protect(
    "researcher",
    Policies(breaker=BreakerPolicy(failure_threshold=5, timeout_s=20), pool=PoolPolicy(), max_wait_s=30),
)

plan = Plan(
    "paper",
    [
        Task(name, agent_type, input={"page": page}, depends_on=before, placement="remote")
        for page in ("front", "sports", "letters")
        for name, agent_type, before in ((f"notes-{page}", "researcher", ()), (page, "writer", (f"notes-{page}",)))
    ],
)


async def work() -> None:
    """Run the plan again and again, and show how that goes, until SIGTERM or Ctrl-C; the run at hand is finished."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    provider = MeterProvider([PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False)])
    metrics = Metrics(provider)
    start_http_server(PORT)
    # By its path, so that the journal says whose runs these are: `coterie runs resume RUN` finds it.
    async with Runtime("desk:team", journal=True, on_event=metrics) as runtime, asyncio.TaskGroup() as group:
        metrics.watch(runtime.orchestrator)
        beside = [group.create_task(each) for each in (_refreshed(metrics), _archived(runtime))]
        for run in count(1):
            result = await runtime.orchestrator.execute_workflow(plan)
            print(f"run {run}: {result.status}", flush=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PAUSE_S)
            if stop.is_set():
                break
        for task in beside:
            task.cancel()


async def _refreshed(metrics: Metrics) -> None:
    while True:
        await metrics.refresh()
        await asyncio.sleep(REFRESH_S)


async def _archived(runtime: Runtime) -> None:
    """Read what workers tell, as an archive would."""

    async def handle(_: CloudEvent) -> None:
        return

    await runtime.bus.serve(handle, "task.*", group="archive")


if __name__ == "__main__":
    asyncio.run(work())
