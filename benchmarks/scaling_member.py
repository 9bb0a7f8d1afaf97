"""One process of a fleet: so many callers, each asks an agent, again and again, through pool, limit and breaker.

Started by `scaling_real.py` with its part of a fleet as JSON. It counts for as long as it was told, once its callers
are warm; then it prints what it saw, as JSON.
"""

from __future__ import annotations

__all__ = ["Part"]

import asyncio
import json
import logging
import random
import sys
import time
from dataclasses import asdict, dataclass, field

from coterie import BreakerPolicy, Policies, PoolPolicy, Quota, Runtime, Task, TaskContext, Team


@dataclass(frozen=True, slots=True)
class Part:
    """What one process does. `down`: how many of the agents fail every call."""

    url: str
    callers: int
    seconds: float
    agents: int
    capacity: int
    rate_per_s: float
    down: int
    trips_after: int
    warm_s: float
    measured_s: float
    seed: int


@dataclass(slots=True)
class Seen:
    """What it came to, within the measured time; `waits_s`: how long each call stood before its agent began."""

    calls: int = 0
    failed: int = 0
    cpu_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)


async def run(part: Part) -> Seen:
    """Call until the time is over; what came before the callers were warm does not count."""
    seen, chance = Seen(), random.Random(part.seed)
    begins_s = asyncio.get_running_loop().time() + part.warm_s
    counting = False

    async def answer(task_input: dict[str, float], context: TaskContext) -> None:
        if counting:
            seen.waits_s.append(time.monotonic() - task_input["asked_s"])
        if context.agent is not None and int(context.agent.id.rpartition("-")[2]) < part.down:
            seen.failed += counting
            raise ConnectionError("down")
        await asyncio.sleep(part.seconds * chance.uniform(0.5, 1.5))
        seen.calls += counting

    async def caller(runtime: Runtime, number: int) -> None:
        await asyncio.sleep(chance.random() * min(part.seconds, part.warm_s / 2))
        while True:
            task = Task(f"call-{number}", "worker", input={"asked_s": time.monotonic()})
            await runtime.orchestrator.execute_task(task)

    team = Team("scaling")
    for number in range(part.agents):
        team.agent("worker", agent_id=f"worker-{number}", capacity=part.capacity)(answer)
    team.protect("worker", _policies(part))
    async with Runtime(team, store=part.url, namespace="scaling") as runtime:
        callers = [asyncio.ensure_future(caller(runtime, number)) for number in range(part.callers)]
        await asyncio.sleep(begins_s - asyncio.get_running_loop().time())
        counting, began_s = True, time.process_time()
        await asyncio.sleep(part.measured_s)
        counting, seen.cpu_s = False, time.process_time() - began_s
        for each in callers:
            each.cancel()
        await asyncio.wait(callers)
    return seen


def _policies(part: Part) -> Policies:
    rate = part.rate_per_s
    return Policies(
        pool=PoolPolicy(queue_limit=10_000, lease_s=120.0),
        breaker=BreakerPolicy(failure_threshold=part.trips_after),
        limits={"requests": Quota(rate_per_s=rate, burst=max(1, round(rate / 10)))} if rate else {},
        max_wait_s=3600.0,
    )


if __name__ == "__main__":
    logging.getLogger("coterie").setLevel(logging.CRITICAL)
    print(json.dumps(asdict(asyncio.run(run(Part(**json.loads(sys.argv[1])))))))
