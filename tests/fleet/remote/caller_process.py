"""`python caller_process.py URL NOTES GO`: a run whose one task is performed elsewhere, kept in a journal."""

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


async def main(url: str, notes: str, go: str) -> None:
    async with Runtime(caller(), store=url, journal=True) as runtime:
        await runtime.orchestrator.execute_workflow(plan(notes, go), workflow_id=WORKFLOW_ID)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
