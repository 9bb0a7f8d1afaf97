"""A machine that asks people: drafts are paid for by the call, as in `tests.prefect.billed`."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from prefect import flow

from coterie import Action, Field, Go, Guard, State, StateMachine, TaskContext, Team
from prefect_coterie import machine_to_flow, run_machine
from tests.prefect.billed import folder

__all__ = ["FIELDS", "TEAM", "interruptible", "review", "review_flow", "review_in_turns", "review_machine", "team"]

TEAM = "tests.prefect.reviewed:team"
team = Team("reviewers")

_draft = Action("writer", input={"comment": {"$data": "/event/payload/comment", "default": ""}})


def review_machine(*, timeout_s: float | None = None) -> StateMachine:
    """Drafts until somebody approves; who has no level is refused."""
    ways = [
        Go("published", "approve", when=[Guard("/level", "ge", 2)]),
        Go("draft", "revise"),
        *([Go("dropped", "timeout")] if timeout_s is not None else []),
    ]
    return StateMachine(
        "review",
        [
            State("draft", action=_draft, max_visits=3, transitions=[Go("review"), Go("dropped", "exhausted")]),
            State("review", transitions=ways, timeout_s=timeout_s),
            State("published", final="succeeded"),
            State("dropped", final="failed"),
        ],
        initial="draft",
        params={"topic": "agents"},
    )


review = review_machine()


@team.agent("writer")
async def write(task_input: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Be paid, and write; or be long about it, or die, as a file named after the task orders."""
    with (folder() / "ledger").open("a") as ledger:
        ledger.write(f"{context.task_id} {context.idempotency_key}\n")
    (folder() / "pid").write_text(str(os.getpid()))
    order = folder() / f"order-{context.task_id}"
    orders = order.read_text() if order.exists() else ""
    if orders == "die":
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if orders == "long":
        await asyncio.sleep(60)
    return {"text": f"# `draft`{task_input['comment']}"}


# Somebody may be done with it before the draft is written.
interruptible = StateMachine(
    "interruptible",
    [
        State("draft", action=_draft, transitions=[Go("published"), Go("published", "skip")]),
        State("published", final="succeeded"),
    ],
    initial="draft",
)

FIELDS = {"comment": Field(title="What is wrong"), "level": Field("integer", choices=[1, 2, 3])}
review_flow = machine_to_flow(review, team=TEAM, fields=FIELDS, poll_s=0.2)


@flow(flow_run_name="turns/{first}")
async def review_in_turns(first: str, second: str) -> list[str | None]:
    """Two machines in one flow run."""
    runs = [run_machine(review, team=TEAM, fields=FIELDS, workflow_id=name, poll_s=0.2) for name in (first, second)]
    return [status.status for status in await asyncio.gather(*runs)]
