"""A team with policies: each type for one way of being refused."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTerminated

from coterie import Team
from coterie.breaker import BreakerPolicy
from coterie.limiter import Quota
from coterie.policies import Fallback, Policies, Spend
from coterie.pool import PoolPolicy
from tests.airflow.agents import opened

TEAM_PATH = "tests.airflow.fleet_agents:team"
POOL = PoolPolicy(lease_s=3.0, heartbeat_s=1.0)

team = Team("fleet-tests")


async def work(task_input, ctx):
    """Wait for a file, if one is named; then fail or answer."""
    await opened(task_input.get("gate"))
    if task_input.get("fails"):
        raise ValueError("this agent always fails")
    return {"answered": ctx.task_id, "attempt": ctx.attempt}


def agent(agent_type, policies, **more):
    team.agent(agent_type, **more)(work)
    team.protect(agent_type, policies)


# Rests so long that only a person who closes it helps in time.
agent("brittle", Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=250.0, jitter=0.0)))
agent("resting", Policies(breaker=BreakerPolicy(failure_threshold=1, success_threshold=1, timeout_s=3.0)))
agent("barred", Policies(breaker=BreakerPolicy(timeout_s=1.0), max_wait_s=4.0))
agent("single", Policies(pool=POOL, max_wait_s=120.0))
agent("rationed", Policies(limits={"requests": Quota(rate_per_s=0.15, burst=1)}, max_hold_s=0.01))
agent("costly", Policies(budgets=[Spend(name="day", limit=10, per_call=10, window="day")], max_wait_s=1.0))
agent(
    "replaced",
    Policies(
        budgets=[Spend(name="replaced", limit=10, per_call=10, window="day")],
        fallback=[Fallback(value={"answered": "instead"})],
        max_wait_s=1.0,
    ),
)


@team.agent("controlling")
async def control(task_input, ctx):
    if task_input["raises"] == "skip":
        raise AirflowSkipException("said by the agent")
    raise AirflowTaskTerminated("said by the agent")


team.protect("controlling", Policies(breaker=BreakerPolicy(failure_threshold=2)))
