"""Agents that do what a script says, behind policies, and tasks that are performed by them one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coterie import Agent, Event, Orchestrator, Task, TaskContext, Team
from coterie.policies import Policies
from coterie.stores.memory import MemoryStateStore

__all__ = ["Script", "run", "team_of"]


class Script:
    """An agent that does what it is told, call by call; the last instruction holds on."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.calls = 0

    async def __call__(self, task_input: Mapping[str, Any], ctx: TaskContext) -> Any:
        self.calls += 1
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return await step(ctx) if callable(step) else step


def team_of(policies: Policies, **agents: Script) -> Team:
    """Agents called x1, x2 serve x; any other name is its own type."""
    team = Team("gated", policies={"x": policies})
    for name, script in agents.items():
        team.add(Agent(name, "x" if name.startswith("x") else name, script, capacity=4))
    return team


async def run(
    team: Team, count: int = 1, *, store: MemoryStateStore | None = None, events: list[Event] | None = None, **task: Any
) -> list[Any]:
    """The results of so many equal tasks, one after the other."""
    orchestrator = Orchestrator(team, store=store, on_event=events.append if events is not None else None)
    try:
        waits = task.pop("waits", True)
        return [
            await orchestrator.execute_task(Task("t", "x", **task), waits=waits, workflow_id="run")
            for _ in range(count)
        ]
    finally:
        await orchestrator.pipeline.aclose()
