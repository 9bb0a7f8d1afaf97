"""A team of which metrics are collected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from coterie import Orchestrator, TaskContext, Team
from tests.core.metrics.collected import Collected

__all__ = ["desk", "until", "watched"]


def desk(**agent: Any) -> Team:
    """One agent that writes, fails or hangs as its task says, and one that reads."""
    team = Team("desk")

    @team.agent("writer", **agent)
    async def write(task_input: dict[str, Any], ctx: TaskContext) -> str:
        ctx.report_usage(requests=1, input_tokens=100, output_tokens=20, cost_micros=2_500)
        asked = task_input.get("item", task_input)
        if ctx.attempt <= asked.get("fails", 0):
            raise ConnectionError("sk-live-4711")
        if asked.get("hangs"):
            await asyncio.Event().wait()
        return "done"

    @team.agent("reader")
    async def read(task_input: dict[str, Any]) -> str:
        return "read"

    return team


def watched(collected: Collected, team: Team, **more: Any) -> Orchestrator:
    orchestrator = Orchestrator(team, on_event=collected.metrics, **more)
    collected.metrics.watch(orchestrator)
    return orchestrator


async def until(holds: Callable[[], object]) -> None:
    """Wait for what another task brings about."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # of many kinds
            await asyncio.sleep(0.01)
