"""A team whose agents say who performs them, and where; and plans of which a part goes to workers."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from coterie import ForEach, Plan, Task, TaskContext, Team
from coterie.task import Placement

TEAM = "tests.prefect.elsewhere:team"
# The same, as far as it is here: for the rest there are workers.
SPREAD = "tests.prefect.elsewhere:spread"

team = Team("elsewhere")
spread = Team("elsewhere")


@team.agent("placed", capacity=4)
async def place(task_input: dict[str, Any], ctx: TaskContext) -> dict[str, Any]:
    """Whose process it is."""
    return {"pid": os.getpid(), "said": task_input.get("said"), "workflow": ctx.workflow_id}


@team.agent("counter")
async def count(task_input: dict[str, Any]) -> list[int]:
    """The numbers below `n`."""
    return list(range(task_input["n"]))


@team.agent("squarer", capacity=4)
async def square(task_input: dict[str, Any]) -> int:
    """The square of `item`."""
    return int(task_input["item"]) ** 2


@team.agent("adder")
async def add(_: dict[str, Any], ctx: TaskContext) -> int:
    """The sum of the squares."""
    return sum(await ctx.output("squares"))


@team.agent("announcer")
async def announce(task_input: dict[str, Any], ctx: TaskContext) -> int:
    """Publish what was given."""
    await ctx.publish("com.example.announced", task_input["what"])
    return os.getpid()


@team.agent("broken")
async def break_down(_: dict[str, Any]) -> None:
    raise RuntimeError("it broke")


@team.agent("patient", capacity=4)
async def wait(task_input: dict[str, Any], ctx: TaskContext) -> str:
    """Write down that it is at work, and wait for the file `go`; in `folder`."""
    folder = Path(task_input["folder"])
    note(folder, "begun")
    try:
        while not (folder / "go").exists():  # noqa: ASYNC110  # another process makes it
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        note(folder, "cancelled")
        raise
    return ctx.workflow_id


for _name in ("counter", "adder"):
    spread.add(team.agents[_name])
for _name in ("squarer", "broken"):
    spread.remote(_name)


def note(folder: Path, word: str) -> None:
    with (folder / "notes").open("a") as notes:
        notes.write(f"{word} {os.getpid()}\n")


def notes(folder: Path) -> list[str]:
    """The words that were noted, in order."""
    path = folder / "notes"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def sums(squares: Placement | None) -> Plan:
    """Count, square each, add. squares: where those are made."""
    return Plan(
        "sums",
        [
            Task("count", "counter", input={"n": 5}),
            Task("squares", "squarer", foreach=ForEach(task="count"), placement=squares),
            Task("sum", "adder", depends_on=("squares",)),
            Task("broken", "broken", placement=squares),
            Task("after", "adder", depends_on=("broken", "squares")),
        ],
    )
