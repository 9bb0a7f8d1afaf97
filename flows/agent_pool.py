"""Four slots for everybody: start `python flows/agent_pool.py` several times at once.

The two agents of the type `worker` have two slots each, in all processes together that share `COTERIE_STORE`, be they
Prefect flows or Airflow DAGs. Whoever finds them taken waits in one queue, by priority and arrival; the task run's log
says so.
"""

from __future__ import annotations

import asyncio

from coterie import ForEach, Plan, Task
from prefect_coterie import plan_to_flow

plan = Plan(
    "agent-pool",
    [
        Task(
            "pages",
            "worker",
            input={"seconds": {"$param": "seconds"}},
            foreach=ForEach(items=[f"page {number}" for number in range(1, 9)]),
        ),
        Task("cover", "worker", input={"seconds": {"$param": "seconds"}}, priority=5),
    ],
    params={"seconds": 2.0},
)

agent_pool = plan_to_flow(
    plan,
    team="coterie.teams.fleet:team",
    description="Work on agents whose slots all runs share.",
)

if __name__ == "__main__":
    asyncio.run(agent_pool())
