"""An example team whose agents a whole fleet shares: one behind HTTP that may fail, and two that are scarce.

`coterie.teams.fleet:team` is what the example DAGs and flows `shared_breaker` and `agent_pool` work with. Wherever they
run, by whatever scheduler: with the same state store (`COTERIE_STORE`) they share the breaker, the limit and the pool.
"""

from __future__ import annotations

import asyncio
import os

from coterie import Agent, JsonValue, Retry, Team
from coterie.agents import HttpAgent
from coterie.breaker import BreakerPolicy
from coterie.errors import StepFailed
from coterie.limiter import Quota
from coterie.policies import Fallback, Policies
from coterie.pool import PoolPolicy

__all__ = ["team"]

PROVIDER_URL = os.environ.get("COTERIE_PROVIDER_URL") or "http://127.0.0.1:8899/"

LONGEST_S = 3600.0

team = Team("fleet")

# Each task tries twice, and every failed attempt counts: the second task that fails opens the breaker.
team.http("writer", HttpAgent(PROVIDER_URL, body="input", timeout_s=20.0), retry=Retry(max_attempts=2, cap_s=2.0))

team.protect(
    "writer",
    Policies(
        breaker=BreakerPolicy(failure_threshold=3, timeout_s=60.0),
        limits={"requests": Quota(rate_per_s=1.0, burst=5)},
        # Refused for longer than `max_wait_s`, a task has the last output for the same input, if that is fresh enough.
        fallback=[Fallback(cached_s=3600.0)],
        max_wait_s=30.0,
    ),
)


async def work(task_input: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Take `seconds` of time (by default 1), and say so."""
    seconds = task_input.get("seconds", 1.0)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= LONGEST_S:
        raise StepFailed(f"seconds is {seconds!r}; give a number from 0 to {LONGEST_S:.0f}")
    await asyncio.sleep(seconds)
    return {**task_input, "slept_s": seconds}


for name in ("worker-1", "worker-2"):
    team.add(Agent(name, "worker", work, capacity=2))

# Four slots in all, for everybody; whoever waits longest in vain gives up after ten minutes.
team.protect("worker", Policies(pool=PoolPolicy(strategy="least_loaded"), max_wait_s=600.0))
