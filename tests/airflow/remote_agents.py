"""A team whose tasks workers perform; and the same team as its workers have it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from coterie import Retry, Team
from tests.airflow.agents import opened

# What tasks know: nobody of it can be called here.
TEAM_PATH = "tests.airflow.remote_agents:asking"
WORKERS_PATH = "tests.airflow.remote_agents:team"

asking = Team("remote-tests")
team = Team("remote-tests")


def noted(task_input, line):
    """Leave a line behind, for the test."""
    if task_input.get("notes"):
        with Path(task_input["notes"]).open("a") as file:
            file.write(line + "\n")


async def work(task_input, ctx):
    """Note that it began, wait for a file if one is named, then answer, or fail; note also that it was cancelled."""
    noted(task_input, f"began {ctx.task_id} {ctx.idempotency_key[:8]}")
    try:
        await opened(task_input.get("gate"))
    except asyncio.CancelledError:
        noted(task_input, f"cancelled {ctx.task_id}")
        raise
    if task_input.get("fails"):
        raise ValueError("this agent always fails")
    noted(task_input, f"ended {ctx.task_id}")
    return {"answered": ctx.task_id, "text": "x" * task_input.get("bytes", 0), "before": sorted(ctx.upstream)}


for agent_type, capacity in {"far": 64, "narrow": 1}.items():
    team.agent(agent_type, capacity=capacity, version="2")(work)
    asking.remote(agent_type, version="2", patience_s=600.0)

team.agent("hurried")(work)
asking.remote("hurried", timeout_s=0.2, retry=Retry(max_attempts=2, base_s=0.0))
# Nobody does, for so long that nobody will.
asking.remote("unserved", patience_s=2.0)


@asking.agent("near")
async def near(task_input, ctx):
    return {"answered": ctx.task_id, "before": sorted(ctx.upstream)}
