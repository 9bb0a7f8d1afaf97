"""A plan of two hundred tasks in ten layers, with all that a plan can have, whose every unit of work is billed.

Units are named by the task, `t07`; by the step within it, `t07/draft`; by the item, `t07[3]`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from coterie import ForEach, Plan, Task, TaskContext, Team, When
from coterie.ids import content_hash

__all__ = ["Done", "Pay", "layered_plan", "team_of", "units_of"]

# Called with the name of a unit of work, and its idempotency key.
Pay: TypeAlias = Callable[[str, str], Awaitable[None]]
# Called with the name of a step that was acknowledged: it is never to be paid for again.
Done: TypeAlias = Callable[[str], None]

WIDTH, PARENTS, ITEMS = 20, 3, 5
STEPS = ("draft", "check")
# Output that lies in the artifact store.
LARGE = 3000


def layered_plan(size: int, *, seed: int = 7) -> Plan:
    """Each task waits for three of the layer before; every sixth has steps, every eleventh items."""
    chance = random.Random(seed)
    width = min(WIDTH, max(1, size // 5))
    tasks = []
    for number in range(size):
        layer = range(number // width * width - width, number // width * width)
        before = [f"t{other:03}" for other in sorted(chance.sample(layer, PARENTS))] if layer.start >= 0 else []
        tasks.append(_task(number, before))
    return Plan("layered", tasks)


def _task(number: int, before: list[str]) -> Task:
    name = f"t{number:03}"
    if number % 29 == 28:
        return Task(name, "fail", depends_on=before, trigger_rule="all_done")
    if number % 11 == 10:
        return Task(name, "map", depends_on=before, trigger_rule="all_done", foreach=ForEach(items=list(range(ITEMS))))
    if number % 13 == 12 and before:
        when = When(before[0], "/even", "eq", value=True)
        return Task(name, "work", depends_on=before, trigger_rule="all_done", when=when)
    kind = "steps" if number % 6 == 5 else "large" if number % 6 == 2 else "work"
    # A failure before it does not keep it from its work: so all layers are reached.
    return Task(name, kind, depends_on=before, trigger_rule="all_done", input={"number": number})


def units_of(plan: Plan) -> dict[str, list[str]]:
    """The units of work that a task is billed for, by its id, if it runs."""
    found = {}
    for task in plan.tasks:
        if task.agent_type == "map":
            found[task.id] = [f"{task.id}[{item}]" for item in range(ITEMS)]
        elif task.agent_type == "steps":
            found[task.id] = [f"{task.id}/{step}" for step in STEPS]
        else:
            found[task.id] = [task.id]
    return found


def team_of(pay: Pay, done: Done) -> Team:
    """Agents that pay for what they do, and return what follows from their input and what came before."""
    team = Team("layered")

    @team.agent("work", capacity=WIDTH)
    async def work(task_input: dict[str, Any], ctx: TaskContext) -> Any:
        await pay(ctx.task_id, ctx.idempotency_key)
        return await _result(ctx)

    @team.agent("large", capacity=WIDTH)
    async def large(task_input: dict[str, Any], ctx: TaskContext) -> Any:
        await pay(ctx.task_id, ctx.idempotency_key)
        return {**await _result(ctx), "text": ctx.task_id * (LARGE // 4)}

    @team.agent("fail", capacity=WIDTH)
    async def fail(task_input: dict[str, Any], ctx: TaskContext) -> Any:
        await pay(ctx.task_id, ctx.idempotency_key)
        raise ValueError("on purpose")

    @team.agent("map", capacity=WIDTH)
    async def each(task_input: dict[str, Any], ctx: TaskContext) -> Any:
        await pay(f"{ctx.task_id}[{ctx.item}]", ctx.idempotency_key)
        return {"item": ctx.item}

    @team.agent("steps", capacity=WIDTH)
    async def steps(task_input: dict[str, Any], ctx: TaskContext) -> Any:
        async def step(name: str) -> str:
            await pay(f"{ctx.task_id}/{name}", ctx.idempotency_key)
            return name

        found = []
        for name in STEPS:
            found.append(await ctx.step(name, step, name))
            done(f"{ctx.task_id}/{name}")
        return {**await _result(ctx), "steps": found}

    return team


async def _result(ctx: TaskContext) -> dict[str, Any]:
    before = [
        [name, await ctx.output(name) if found.state == "succeeded" else found.state]
        for name, found in sorted(ctx.upstream.items())
    ]
    digest = content_hash([ctx.task_id, before])
    return {"digest": digest, "even": int(digest, 16) % 2 == 0}
