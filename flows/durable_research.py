"""A long chain of agents that survives whatever ends its process: no call that was answered is paid for twice.

`python flows/durable_research.py report-1`, kill it in the middle, and start it again with the same word: it goes on
where it stopped, and the log says what was not done again and what that saved. `coterie runs list` and
`coterie runs diff report-1` say what a run has finished and would do.

A run that the DAG `durable_research` began on Airflow goes on here: airflow.durable_research.<run id> is its word.
"""

from __future__ import annotations

import asyncio
import sys

from coterie.teams.research import plan
from prefect_coterie import plan_to_flow

durable_research = plan_to_flow(
    plan,
    team="coterie.teams.research:team",
    description="Research that is not paid for twice, whatever ends its process.",
)

if __name__ == "__main__":
    asyncio.run(durable_research(coterie_run_id=sys.argv[1] if len(sys.argv) > 1 else None))
