"""A team that does what tests need, among others fail, hang and start child processes; and plans for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from coterie import Command, ForEach, JsonValue, Plan, Retry, Task, TaskContext, Team, When

TEAM = "tests.prefect.trial:team"

team = Team("trial")


@team.agent("counter")
def count(task_input: dict[str, Any]) -> dict[str, Any]:
    """The numbers below `n`."""
    return {"numbers": list(range(task_input["n"]))}


@team.agent("squarer", capacity=4)
async def square(task_input: dict[str, Any]) -> int:
    """The square of `item`, unless it is `bad`."""
    if task_input["item"] in task_input.get("bad", []):
        raise ValueError(f"no square for {task_input['item']}")
    return int(task_input["item"]) ** 2


@team.agent("adder")
async def add(_: dict[str, Any], ctx: TaskContext) -> int:
    """The sum of the upstream outputs, foreach or not."""
    total = 0
    for name, result in ctx.upstream.items():
        if result.state == "succeeded":
            found = await ctx.output(name)
            total += sum(found) if isinstance(found, list) else int(found)
    return total


@team.agent("broken")
async def break_down(_: dict[str, Any]) -> None:
    raise RuntimeError("it broke")


@team.agent("hanging")
async def hang(_: dict[str, Any]) -> None:
    await asyncio.Event().wait()


@team.agent("reporter")
async def report(_: dict[str, Any], ctx: TaskContext) -> dict[str, JsonValue]:
    """What came in, and for what did not, its state."""
    found: dict[str, JsonValue] = {}
    for name, result in ctx.upstream.items():
        if result.items is not None:
            items = await ctx.items(name)
            found[name] = [item.output if item.state == "succeeded" else f"{item.error}" for item in items]
        elif result.state == "succeeded":
            found[name] = await ctx.output(name)
        else:
            found[name] = result.state
    return found


@team.agent("writer")
async def write(_: dict[str, Any], ctx: TaskContext) -> dict[str, Any]:
    """A report as references: Markdown, and a page."""
    assert ctx.artifacts is not None
    markdown = await ctx.artifacts.put_bytes(b"# All is well\n\nNothing was found.\n", "text/markdown")
    page = await ctx.artifacts.put_bytes(b"<!doctype html><title>All is well</title>", "text/html")
    return {"markdown": markdown.serialize(), "html": page.serialize()}


# Writes its own process group's id, then waits with a child that would outlive it.
_NURSE = """
import os, pathlib, subprocess
subprocess.Popen(["sleep", "600"])
pathlib.Path(os.environ["PIDFILE"]).write_text(str(os.getpgrp()))
os.wait()
"""


def nursery(folder: Path) -> Team:
    """A team with one command agent, `nurse`, whose process group's id appears in `folder/group`."""
    found = Team("nursery")
    environment = {"PIDFILE": str(folder / "group")}
    found.command("nurse", Command(["python3", "-c", _NURSE], output="text", env=environment, kill_grace_s=1.0))
    return found


hello = Plan(
    "hello",
    [
        Task("count", "counter", input={"n": {"$param": "n"}}),
        Task("double", "adder"),
        Task("report", "reporter", depends_on=("count", "double"), trigger_rule="all_done"),
    ],
    params={"n": 3},
)

# Whatever can become of a task.
everything = Plan(
    "everything",
    [
        Task("count", "counter", input={"n": {"$param": "n"}}),
        Task(
            "tolerant",
            "squarer",
            input={"bad": [2]},
            foreach=ForEach(task="count", pointer="/numbers", tolerate_failures=1),
        ),
        Task("strict", "squarer", input={"bad": [3]}, foreach=ForEach(task="count", pointer="/numbers")),
        Task("listless", "squarer", foreach=ForEach(task="count", pointer="/nothing")),
        Task("empty", "squarer", foreach=ForEach(items=[])),
        Task("unwanted", "squarer", input={"item": 1}, when=When("count", "/numbers", "eq", "no")),
        Task("unwanted-items", "squarer", foreach=ForEach(items=[1, 2]), when=When("count", "/numbers", "eq", "no")),
        Task("after-unwanted", "squarer", input={"item": 1}, depends_on=("unwanted",)),
        Task("broken", "broken", retry=Retry(max_attempts=2, base_s=0.01, cap_s=0.01)),
        Task("hanging", "hanging", timeout_s=0.3),
        Task("blocked", "squarer", input={"item": 1}, depends_on=("broken",)),
        Task("first", "squarer", input={"item": 5}, depends_on=("hanging", "count"), trigger_rule="one_success"),
        Task("none-failed", "reporter", depends_on=("unwanted", "tolerant"), trigger_rule="none_failed"),
        Task(
            "report",
            "reporter",
            depends_on=("tolerant", "strict", "unwanted", "broken", "hanging", "empty"),
            trigger_rule="all_done",
        ),
    ],
    params={"n": 5},
    outputs=["report"],
)
