"""`python caller_process.py URL NOTES GO [WHOLE]`: a run whose one task is performed elsewhere, kept in a journal.

WHOLE: "" to have claimed the task alone, as a scheduler's worker has.
"""

from __future__ import annotations

import asyncio
import sys

from coterie import Plan, Task, Team
from coterie.runtime import Runtime

WORKFLOW_ID = "the-run"


def plan(notes: str, go: str) -> Plan:
    """Of one task for a worker."""
    return Plan("p", [Task("step", "stepper", input={"notes": notes, "go": go})])


def caller() -> Team:
    """Whose agents are all elsewhere."""
    team = Team("caller")
    for name in ("stepper", "lint", "scan"):
        team.remote(name)
    return team


async def ask(runtime: Runtime, asked: Plan, *, whole: bool) -> None:
    """Have the run done, as coterie's own engine does or as a scheduler."""
    if whole:
        await runtime.orchestrator.execute_workflow(asked, workflow_id=WORKFLOW_ID)
    else:
        await runtime.orchestrator.execute_task(asked.tasks[0], workflow_id=WORKFLOW_ID, plan=asked)


async def main(url: str, notes: str, go: str, whole: str = "whole") -> None:
    async with Runtime(caller(), store=url, journal=True) as runtime:
        await ask(runtime, plan(notes, go), whole=bool(whole))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
