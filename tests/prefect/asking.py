"""Plans that ask people; their agents are paid for by the call, as in `tests.prefect.billed`."""

from __future__ import annotations

import asyncio
from typing import Any

from coterie import Approval, Field, Plan, Task, TaskContext, Team
from prefect_coterie import plan_to_flow
from tests.prefect import billed

__all__ = ["TEAM", "finished", "publishing", "publishing_flow", "team", "two_signatures", "two_signatures_flow"]

TEAM = "tests.prefect.asking:team"
team = Team("asking")


@team.agent("worker", capacity=4)
async def work(task_input: dict[str, Any], context: TaskContext) -> dict[str, str]:
    """Be paid, and be at work for a while."""
    found = await billed.work(task_input, context)
    await asyncio.sleep(1.0)
    with (billed.folder() / "finished").open("a") as done:
        done.write(f"{context.task_id}\n")
    return found


def finished() -> list[str]:
    """The tasks whose work has ended."""
    path = billed.folder() / "finished"
    return path.read_text().split() if path.exists() else []


# A draft, which somebody signs, before it is sent.
publishing = Plan(
    "publishing",
    [
        Task("draft", "worker"),
        Task(
            "sign-off",
            "editor",
            input={"about": "the draft"},
            depends_on=["draft"],
            approval=Approval(
                "Publish *this*?",
                fields={
                    "copies": Field("integer", required=True),
                    "format": Field(choices=["pdf", "html"], default="pdf"),
                },
            ),
        ),
        Task("send", "worker", depends_on=["sign-off"]),
    ],
)

# Two who sign, and slow work beside them.
two_signatures = Plan(
    "two-signatures",
    [
        Task("legal", "lawyer", approval=Approval("Is it legal?")),
        Task("style", "editor", approval=Approval("Is it readable?")),
        Task("aside", "worker"),
        Task("aside-too", "worker", depends_on=["aside"]),
        Task("after-legal", "worker", depends_on=["legal"]),
        Task("after-style", "worker", depends_on=["style"]),
    ],
)

publishing_flow = plan_to_flow(publishing, team=TEAM, poll_s=0.2)
two_signatures_flow = plan_to_flow(two_signatures, team=TEAM, poll_s=0.2)
