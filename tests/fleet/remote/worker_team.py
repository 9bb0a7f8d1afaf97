"""The team of worker processes in tests: its agents note in files when they begin, step and end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from coterie import TaskContext, Team

team = Team("workers")


def note(task_input: dict[str, Any], context: TaskContext, what: str) -> None:
    """One line, whole, however many processes write."""
    line = f"{what} {context.task_id} {context.idempotency_key[:16]} {os.getpid()}\n"
    descriptor = os.open(task_input["notes"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


@team.agent("lint", capacity=2)
async def lint(task_input: dict[str, Any], context: TaskContext) -> str:
    """Take as long as is asked for."""
    note(task_input, context, "begun")
    await asyncio.sleep(task_input["seconds"])
    note(task_input, context, "ended")
    return context.task_id


team.agent("scan", capacity=2)(lint)


@team.agent("stepper")
async def stepper(task_input: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Do a durable step, then wait until a file is there."""

    async def pay() -> int:
        note(task_input, context, "paid")
        return os.getpid()

    payer = await context.step("pay", pay)
    note(task_input, context, "begun")
    while not Path(task_input["go"]).exists():  # noqa: ASYNC110, ASYNC240  # another process makes it
        await asyncio.sleep(0.02)
    return {"payer": payer, "by": os.getpid()}


@team.agent("errand", capacity=8)
async def errand(task_input: dict[str, Any], context: TaskContext) -> str:
    """Wait until a file is there, do a durable step, and be done."""
    note(task_input, context, "begun")
    while not Path(task_input["go"]).exists():  # noqa: ASYNC110, ASYNC240  # another process makes it
        await asyncio.sleep(0.02)

    async def pay() -> int:
        note(task_input, context, "paid")
        return os.getpid()

    if task_input["steps"]:
        await context.step("pay", pay)
    note(task_input, context, "ended")
    return context.task_id
