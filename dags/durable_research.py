"""A long chain of agents that survives whatever ends its workers: no call that was answered is paid for twice.

Kill a worker in the middle: Airflow's retry goes on where it stopped, within a task too, and the task's log says first
what was not done again and what that saved. Clear a task that succeeded: it is done anew, and only what its new output
changes after it. `coterie runs list` and `coterie runs diff RUN` say what a run has finished and would do.

The run goes on elsewhere too, by its id: trigger the flow `durable_research` on Prefect with
coterie_run_id=airflow.durable_research.<run id> and the same store and artifacts.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow_provider_coterie import plan_to_dag
from coterie.teams.research import plan

dag = plan_to_dag(
    plan,
    dag_id="durable_research",
    team_path="coterie.teams.research:team",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags={"coterie"},
    doc_md=__doc__,
)
