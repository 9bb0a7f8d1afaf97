"""Two hundred tasks that others perform: no worker is held by any of them, and no slot of a pool, while they run.

Each is a call that lies in a queue until one of the workers has room for it. Start as many as you like, anywhere, with
the same state store and artifacts; they may come, go, and be killed meanwhile:

    coterie worker --team coterie.teams.errands:team --capacity 8

The triggerer ends the tasks. Clear one, or mark it failed, and its work is cancelled at the worker that has it. The
flow `fan_out_remote` sends the same errands from Prefect.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_coterie import CoterieAgentOperator

TASKS = 200


@task
def errands(*, params: Any = None) -> list[dict[str, Any]]:
    """What is to be done; one mapped task for each."""
    return [{"input": {"number": number, "seconds": params["seconds"]}} for number in range(params["tasks"])]


with DAG(
    "fan_out_remote",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={
        "seconds": Param(2.0, type="number", minimum=0, maximum=600, title="Seconds", description="for each task"),
        "tasks": Param(TASKS, type="integer", minimum=1, maximum=1000, title="Tasks"),
    },
    max_active_tasks=TASKS,
    tags={"coterie"},
    doc_md=__doc__,
) as dag:
    CoterieAgentOperator.partial(
        task_id="errand", team_path="coterie.teams.errands:away", agent_type="errand", retries=2
    ).expand_kwargs(errands())
