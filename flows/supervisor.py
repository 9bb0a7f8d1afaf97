"""An agent that plans, delegates by request and reply, and plans anew when a step comes to nothing.

It knows skills, not who has them. Whoever has them answers on the bus: any number of processes, anywhere, with the same
state store (`COTERIE_STORE`):

    python -m coterie.teams.supervisor

What was answered is in the journal: kill this process and start it again with the same word, and nobody is asked again
for it:

    python flows/supervisor.py story-1

The agent's output is a report: which steps were taken, and how it got around the one that failed. The DAG `supervisor`
is its twin on Airflow.
"""

from __future__ import annotations

import asyncio
import sys

from coterie import Plan, Task
from prefect_coterie import plan_to_flow

plan = Plan(
    "supervisor",
    [Task("supervise", "supervisor", input={"subject": {"$param": "subject"}})],
    params={"subject": "what a scheduler forgets"},
)

supervisor = plan_to_flow(
    plan,
    team="coterie.teams.supervisor:team",
    description="Have a subject looked into by whoever can.",
)

if __name__ == "__main__":
    asyncio.run(supervisor(coterie_run_id=sys.argv[1] if len(sys.argv) > 1 else None))
