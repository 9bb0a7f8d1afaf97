"""The team of the engine contract: its agents do what the task's input says, so that any worker can load it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from coterie._json import JsonValue
from coterie.context import TaskContext
from coterie.sync import TaskContext as BlockingTaskContext
from coterie.team import Team

__all__ = ["PATH", "team"]

PATH = "coterie.testing.engine_team:team"

team = Team("engine-contract")


@team.agent("script", capacity=8)
async def script(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    """Do what `do` says."""
    return await _DEEDS[task_input["do"]](task_input, ctx)


@team.agent("blocking", capacity=4)
def blocking(task_input: dict[str, Any], ctx: BlockingTaskContext) -> JsonValue:
    """Return the outputs of the upstream tasks, from a plain function."""
    return {name: ctx.output(name) for name, result in ctx.upstream.items() if result.state == "succeeded"}


async def _give(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    return task_input.get("value")


async def _fail(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    raise RuntimeError("told to fail")


async def _hang(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    await asyncio.Event().wait()


async def _flaky(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    if ctx.attempt < task_input["until"]:
        raise RuntimeError(f"attempt {ctx.attempt} fails")
    return {"attempt": ctx.attempt}


async def _see(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    seen: dict[str, Any] = {}
    for name, result in ctx.upstream.items():
        seen[name] = {"state": result.state, "error": result.error and result.error.type}
        if result.state == "succeeded":
            seen[name]["output"] = await ctx.output(name)
        if result.items is not None:
            seen[name]["items"] = [result.items.total, result.items.failed]
    return seen


async def _item(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    item = task_input[task_input.get("bind", "item")]
    if item in task_input.get("failing", []):
        raise RuntimeError(f"item {item!r} fails")
    return {"item": item, "same": ctx.item == item, "key": ctx.item_key}


async def _keys(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    return {"idempotency_key": ctx.idempotency_key, "workflow_id": ctx.workflow_id}


_DEEDS: dict[str, Callable[[dict[str, Any], TaskContext], Awaitable[Any]]] = {
    "fail": _fail,
    "flaky": _flaky,
    "give": _give,
    "hang": _hang,
    "item": _item,
    "keys": _keys,
    "see": _see,
}
