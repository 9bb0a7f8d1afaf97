"""Tasks of a type whose agents are given as much at once as they bear."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from coterie import Agent, Aimd, Orchestrator, Policies, PoolPolicy, Retry, Task, Team
from coterie.errors import AgentThrottled

POOL = PoolPolicy(adaptive=Aimd(start=4, maximum=8, backoff=0.5))


class Crowded:
    """An agent that bears `bears` calls at once, and turns further ones away."""

    def __init__(self, bears: int) -> None:
        self.bears, self.running, self.away, self.most = bears, 0, 0, 0

    async def __call__(self, task_input: Mapping[str, Any]) -> str:
        if self.running >= self.bears:
            self.away += 1
            raise AgentThrottled("too many at once", status=429)
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(20):
            await asyncio.sleep(0)
        self.running -= 1
        return "done"


def team_of(agent: Any, *, pool: PoolPolicy, **settings: Any) -> Team:
    return Team("adaptive", [Agent("x1", "x", agent, **settings)], policies={"x": Policies(pool=pool)})


async def limit(orchestrator: Orchestrator) -> int | None:
    gate = orchestrator.pipeline.gate("x")
    assert gate is not None
    return (await gate.tools.pool.refresh()).agents[0].limit


async def test_a_task_that_times_out_is_an_overload_and_one_that_fails_is_not():
    async def act(task_input: Mapping[str, Any]) -> None:
        if task_input["hangs"]:
            await asyncio.Event().wait()
        raise ValueError("of its own")

    orchestrator = Orchestrator(team_of(act, pool=POOL, capacity=8))
    try:
        await orchestrator.execute_task(Task("t", "x", input={"hangs": False}, timeout_s=60))
        assert await limit(orchestrator) == 4

        result = await orchestrator.execute_task(Task("t", "x", input={"hangs": True}, timeout_s=0.01))

        assert result.error is not None
        assert result.error.type == "TaskTimedOut"
        assert await limit(orchestrator) == 2
    finally:
        await orchestrator.pipeline.aclose()


async def test_tasks_are_held_back_from_an_agent_that_turns_them_away():
    retry = Retry(max_attempts=1000, base_s=0, cap_s=0)
    away = {}
    for name, pool in (("adaptive", POOL), ("plain", PoolPolicy())):
        agent = Crowded(bears=2)
        orchestrator = Orchestrator(team_of(agent, pool=pool, capacity=8, retry=retry))
        try:
            tasks = [orchestrator.execute_task(Task(f"t{number}", "x")) for number in range(60)]
            results = await asyncio.gather(*tasks)
            limited = await limit(orchestrator)
        finally:
            await orchestrator.pipeline.aclose()
        away[name] = agent.away
        assert {one.state for one in results} == {"succeeded"}
        assert agent.most == 2
        assert (limited is None) == (name == "plain")

    assert away["adaptive"] * 2 < away["plain"], away
