"""A team whose agents are paid for by the call: each call leaves a line, with its idempotency key, in a ledger."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from coterie import Plan, Task, TaskContext, Team
from prefect_coterie import plan_to_flow

__all__ = ["bills", "chain", "chain_flow", "folder", "team"]

FOLDER = "COTERIE_TEST_LEDGER"

team = Team("billed")
chain = Plan(
    "chain",
    [
        Task("first", "worker"),
        Task("second", "worker", depends_on=["first"]),
        Task("third", "worker", depends_on=["second"]),
    ],
)


def folder() -> Path:
    """Where the ledger and the orders to the agents lie."""
    return Path(os.environ[FOLDER])


def bills() -> list[tuple[str, str]]:
    """Every call so far: the task's id, and the key that it was called with."""
    ledger = folder() / "ledger"
    return [tuple(line.split()) for line in ledger.read_text().splitlines()] if ledger.exists() else []  # type: ignore[misc]  # two words a line


@team.agent("worker", capacity=4)
async def work(task_input: dict[str, Any], context: TaskContext) -> dict[str, str]:
    """Be paid, then do as ordered: a file named after the task says what."""
    with (folder() / "ledger").open("a") as ledger:
        ledger.write(f"{context.task_id} {context.idempotency_key}\n")
    order = folder() / f"order-{context.task_id}"
    orders = order.read_text() if order.exists() else ""
    if orders == "die":
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if orders == "fail":
        raise RuntimeError("as ordered")
    if orders == "steps":
        await context.step("costly", _costly, context.task_id)
        raise RuntimeError("after its step")
    await asyncio.sleep(0)
    return {"task": context.task_id}


async def _costly(task_id: str) -> str:
    with (folder() / "ledger").open("a") as ledger:
        ledger.write(f"{task_id}.costly step\n")
    return "done"


chain_flow = plan_to_flow(chain, team="tests.prefect.billed:team")
