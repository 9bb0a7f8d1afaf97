"""A provider that fails is called no more, by nobody: `python flows/shared_breaker.py`, as often as you like.

The agent `writer` calls `COTERIE_PROVIDER_URL`. Three failures, in whatever runs and processes, open its breaker for
all that share `COTERIE_STORE`, be they Prefect flows or Airflow DAGs. From then on nobody waits for the provider:
whoever asked the same before has the last answer. After a minute a few calls try whether it is well again.
"""

from __future__ import annotations

import asyncio

from coterie import Plan, Task
from prefect_coterie import plan_to_flow

plan = Plan(
    "shared-breaker",
    [
        Task("draft", "writer", input={"write": {"$param": "subject"}}),
        Task("title", "writer", input={"entitle": {"$param": "subject"}}),
    ],
    params={"subject": "What a fleet shares"},
)

shared_breaker = plan_to_flow(
    plan,
    team="coterie.teams.fleet:team",
    description="Write with an agent behind HTTP, under a breaker that all runs share.",
)

if __name__ == "__main__":
    asyncio.run(shared_breaker())
