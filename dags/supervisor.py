"""An agent that plans, delegates by request and reply, and plans anew when a step comes to nothing.

It knows skills, not who has them. Whoever has them answers on the bus: any number of processes, anywhere, with the same
state store:

    python -m coterie.teams.supervisor

What was answered is in the journal: kill the task's worker, and its retry asks nobody again for it. The agent's output
is a report: which steps were taken, and how it got around the one that failed. The flow `supervisor` is its twin on
Prefect.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from airflow_provider_coterie import CoterieAgentOperator

with DAG(
    "supervisor",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={"subject": Param("what a scheduler forgets", type="string")},
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags={"coterie"},
    doc_md=__doc__,
) as dag:
    CoterieAgentOperator(
        task_id="supervise",
        team_path="coterie.teams.supervisor:team",
        agent_type="supervisor",
        input={"subject": "{{ params.subject }}"},
    )
