"""The code review with faults: one agent raises, one hangs past its time-out, one module's measurement fails.

The report must come out all the same, equal on every engine, and name what is missing.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from coterie import Plan, TaskContext, Team
from coterie.teams.code_review import plan as review_plan
from coterie.teams.code_review import team as review_team

__all__ = ["BAD_MODULE", "plan", "team"]

BAD_MODULE = "shop/invoices.py"
HANG_TIMEOUT_S = 2.0


async def broken(task_input: dict[str, Any], ctx: TaskContext) -> None:
    """Raise, as an agent whose tool is missing would."""
    raise RuntimeError("the linter's tool is broken")


async def hanging(task_input: dict[str, Any], ctx: TaskContext) -> None:
    """Never answer."""
    await asyncio.Event().wait()


def _measure(measured: Any) -> Any:
    async def measure(task_input: dict[str, Any], ctx: TaskContext) -> Any:
        """Fail for one module, work for the others."""
        if ctx.item is not None and ctx.item["path"] == BAD_MODULE:
            raise ValueError("cannot measure this one")
        return await measured(task_input, ctx)

    return measure


def _faulty() -> Team:
    faults = {"linter": broken, "documenter": hanging}
    made = Team("faulty-review")
    for agent in review_team.agents.values():
        handler = _measure(agent.handler) if agent.type == "analyzer" else faults.get(agent.type, agent.handler)
        made.add(replace(agent, handler=handler))
    return made


team = _faulty()


def plan() -> Plan:
    """The review's own plan, with a short time-out for the agent that hangs."""
    made = review_plan()
    tasks = [replace(task, timeout_s=HANG_TIMEOUT_S) if task.id == "docs" else task for task in made.tasks]
    return Plan("faulty-review", tasks, params=made.params)
