"""Plans of ten thousand tasks run in dependency order, in time that grows with their size alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from coterie import ForEach, Orchestrator, Plan, Task, TaskContext

SIZE = 10_000


def chain(size: int) -> list[Task]:
    return [Task(f"t{i}", "x", depends_on=[f"t{i - 1}"] if i else []) for i in range(size)]


def fan_out(size: int) -> list[Task]:
    middle = [Task(f"t{i}", "x", depends_on=["first"]) for i in range(size - 2)]
    return [Task("first", "x"), *middle, Task("last", "x", depends_on=[task.id for task in middle])]


def layers(size: int, width: int = 100) -> list[Task]:
    return [
        Task(
            f"t{i}",
            "x",
            depends_on=[f"t{j}" for j in range((i // width - 1) * width, i // width * width, 9)] if i >= width else [],
        )
        for i in range(size)
    ]


@pytest.mark.parametrize("shape", [chain, fan_out, layers])
@pytest.mark.parametrize("suspends", [False, True])
async def test_every_task_runs_once_and_after_those_it_needs(shape: Any, suspends: bool):
    ended: dict[str, int] = {}

    async def agent(task_input: Any, ctx: TaskContext) -> None:
        assert all(name in ended for name in ctx.task.depends_on)
        assert ctx.task_id not in ended
        if suspends:
            await asyncio.sleep(0)
        ended[ctx.task_id] = len(ended)

    plan = Plan("large", shape(SIZE))
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 64, handler=agent)

    result = await orchestrator.execute_workflow(plan)

    assert result.status == "succeeded"
    assert len(ended) == SIZE
    assert all(ended[name] < ended[task.id] for task in plan.tasks for name in task.depends_on)


async def test_a_fan_out_of_ten_thousand_runs_from_a_yaml_file(tmp_path: Path):
    path = tmp_path / "wide.yaml"
    path.write_text(Plan("wide", fan_out(SIZE)).to_yaml())
    ended: list[str] = []

    async def agent(task_input: Any, ctx: TaskContext) -> None:
        ended.append(ctx.task_id)

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 64, handler=agent)
    result = await orchestrator.execute_workflow(Plan.from_file(path))

    assert result.status == "succeeded"
    assert (ended[0], ended[-1], len(ended)) == ("first", "last", SIZE)


async def test_a_foreach_of_ten_thousand_items_gives_its_outputs_in_order():
    async def agent(task_input: dict[str, Any], ctx: TaskContext) -> Any:
        if ctx.task_id == "list":
            return list(range(SIZE))
        if ctx.task_id == "each":
            return task_input["item"] * 2
        return sum(await ctx.output("each"))

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 16, handler=agent)
    tasks = [
        Task("list", "x"),
        Task("each", "x", foreach=ForEach(task="list")),
        Task("sum", "x", depends_on=["each"]),
    ]

    result = await orchestrator.execute_workflow(tasks)

    assert result["each"].output == [2 * n for n in range(SIZE)]
    assert result["sum"].output == SIZE * (SIZE - 1)


async def test_a_failure_at_the_start_of_a_long_chain_blocks_all_of_it():
    async def agent(task_input: Any, ctx: TaskContext) -> None:
        raise ValueError("at the start")

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=agent)

    result = await orchestrator.execute_workflow(chain(SIZE))

    assert [one.task_id for one in result.failures] == ["t0"]
    assert sum(one.state == "upstream_failed" for one in result) == SIZE - 1
    assert result.status == "failed"


async def test_a_wide_run_is_cancelled_as_a_whole():
    began = asyncio.Event()

    async def agent(task_input: Any, ctx: TaskContext) -> None:
        if ctx.task_id != "first":
            began.set()
            await asyncio.Event().wait()

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 500, handler=agent)
    run = asyncio.ensure_future(orchestrator.execute_workflow(fan_out(SIZE), workflow_id="one"))
    await began.wait()

    orchestrator.cancel("one")
    result = await run

    assert sum(one.state == "cancelled" for one in result) == SIZE - 1
    assert [agent.in_use for agent in orchestrator.get_status().agents] == [0]
