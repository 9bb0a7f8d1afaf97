"""A run that goes from one engine to another: its team, whose every call is billed, and its plan."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from coterie import ForEach, Plan, Task, TaskContext, Team

__all__ = ["FOLDER", "TEAM", "bills", "plan", "team"]

FOLDER = "COTERIE_TEST_HOP"
TEAM = "tests.support.hop:team"

team = Team("hop")
plan = Plan(
    "hop",
    [
        Task("list", "lister"),
        Task("look", "worker", foreach=ForEach(task="list", bind="item")),
        Task("weigh", "worker", depends_on=("look",)),
        Task("report", "reporter", depends_on=("look", "weigh")),
    ],
)


def folder() -> Path:
    """Where the ledger lies, and the order to die."""
    return Path(os.environ[FOLDER])


def bills(ledger: Path) -> list[dict[str, str]]:
    """Every call, in order: what was called, under which key."""
    return [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []


def _bill(context: TaskContext, step: str = "") -> None:
    line = {"unit": f"{context.task_id}/{context.item or ''}{step}", "key": context.idempotency_key}
    with (folder() / "ledger").open("a") as ledger:
        ledger.write(json.dumps(line) + "\n")


@team.agent("lister")
async def list_things(_: dict[str, Any], context: TaskContext) -> list[str]:
    """What is to be looked at."""
    _bill(context)
    return ["a", "b", "c"]


@team.agent("worker", capacity=2)
async def work(_: dict[str, Any], context: TaskContext) -> str:
    """Work in two paid steps. Where the folder says `die`, the process is gone after the first step of `weigh`."""
    _bill(context)

    async def costly(number: int) -> str:
        _bill(context, f":{number}")
        return f"{context.item or context.task_id}{number}"

    first = await context.step("costly", costly, 1)
    order = folder() / "die"
    if context.task_id == "weigh" and order.exists():
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return first + await context.step("costly", costly, 2)


@team.agent("reporter")
async def report(_: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """All of it."""
    _bill(context)
    return {"looked": await context.output("look"), "weight": await context.output("weigh")}
