"""A provider of networks and machines, as far as a saga's tests need one: it counts what it made and took away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from coterie import Event, Orchestrator, Plan, Task, TaskContext
from coterie._rules.saga_policy import SagaPolicy
from coterie.journal import Intent, Journal
from coterie.result import TaskResult
from coterie.saga import Saga, SagaResult
from coterie.task import Compensation, Retry

FAST = Retry(max_attempts=3, base_s=0, cap_s=0)


@dataclass
class Cloud:
    """log: what happened, in order: `+a` and `-a`. fails: how often a step or its compensation (`-a`) fails yet.

    gates: what a step waits for before it ends.
    """

    log: list[str] = field(default_factory=list)
    fails: Counter[str] = field(default_factory=Counter)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    async def make(self, task_input: dict[str, Any], ctx: TaskContext) -> dict[str, Any]:
        return await self._act(f"+{ctx.task_id}", ctx, {"made": ctx.task_id})

    async def remove(self, task_input: dict[str, Any], ctx: TaskContext) -> str:
        step = ctx.task_id.removeprefix("undo-")
        if ctx.upstream.get(step) is not None and ctx.upstream[step].state == "succeeded":
            self.seen[step] = (task_input, await ctx.output(step))
        else:
            self.seen[step] = (task_input, None)
        return await self._act(f"-{step}", ctx, "gone")

    async def fail_at_once(self, task_input: dict[str, Any], ctx: TaskContext) -> None:
        self.log.append(f"+{ctx.task_id}")
        raise RuntimeError("at once")

    async def _act(self, name: str, ctx: TaskContext, result: Any) -> Any:
        self.keys.setdefault(name, []).append(ctx.idempotency_key)
        self.log.append(name)
        if name in self.gates:
            await self.gates[name].wait()
        await asyncio.sleep(0)
        if self.fails[name]:
            self.fails[name] -= 1
            raise RuntimeError(f"{name} does not want to")
        return result

    def orchestrator(self, journal: Journal | None = None, *, capacity: int = 8) -> Orchestrator:
        made = Orchestrator(journal=journal, on_event=self.events.append)
        made.register_agent("maker", "maker", capacity, handler=self.make)
        made.register_agent("remover", "remover", capacity, handler=self.remove)
        made.register_agent("hasty", "hasty", 1, handler=self.fail_at_once)
        return made

    async def run(
        self, plan: Plan, journal: Journal | None = None, *, capacity: int = 8, intent: Intent | None = None
    ) -> SagaResult:
        saga = Saga(self.orchestrator(journal, capacity=capacity), on_event=self.events.append)
        async with asyncio.timeout(20):
            return await saga.run(plan, workflow_id="run", intent=intent)

    def undone(self) -> list[str]:
        return [name for name in self.log if name.startswith("-")]


async def until(condition: Callable[[], bool]) -> None:
    """Let others go first until it holds."""
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


def step(name: str, *needs: str, when: Any = "succeeded", undo: bool = True, **fields: Any) -> Task:
    compensation = Compensation("remover", input={"of": name}, when=when, retry=FAST) if undo else None
    return Task(name, "maker", depends_on=needs, compensation=compensation, **fields)


def plan_of(*tasks: Task, **fields: Any) -> Plan:
    return Plan("cloud", tasks, saga=SagaPolicy(**fields))


async def performed(cloud: Cloud, plan: Plan, journal: Journal, *names: str) -> dict[str, TaskResult]:
    results: dict[str, TaskResult] = {}
    for name in names:
        task = plan.task(name)
        before = {one: results[one] for one in task.upstream}
        results[name] = await cloud.orchestrator(journal).execute_task(
            task, upstream=before, workflow_id="run", plan=plan
        )
    return results


async def lost_in(cloud: Cloud, plan: Plan, journal: Journal, name: str, before: dict[str, TaskResult]) -> None:
    """Have a worker end in the midst of a task."""
    cloud.gates[f"+{name}"] = asyncio.Event()
    upstream = {one: before[one] for one in plan.task(name).upstream}
    work = cloud.orchestrator(journal).execute_task(plan.task(name), upstream=upstream, workflow_id="run", plan=plan)
    worker = asyncio.create_task(work)
    await until(lambda: f"+{name}" in cloud.log)
    worker.cancel()
    await asyncio.wait([worker])
