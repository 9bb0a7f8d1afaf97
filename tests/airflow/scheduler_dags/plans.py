"""One DAG for each plan that the real scheduler runs."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, task

from airflow_provider_coterie import CoterieAgentOperator, plan_to_dag
from tests.airflow import plans

CHAIN = plan_to_dag(plans.chain, team_path=plans.TEAM_PATH)
WIDE = plan_to_dag(plans.wide, team_path=plans.TEAM_PATH)
PARTIAL = plan_to_dag(plans.partial, team_path=plans.TEAM_PATH, foreach_parts=2)
RESPLIT = plan_to_dag(plans.resplit, team_path=plans.TEAM_PATH, foreach_parts=6)
EARLY = plan_to_dag(plans.early, team_path=plans.TEAM_PATH)
LOST = plan_to_dag(plans.lost, team_path=plans.TEAM_PATH, default_args={"retries": 0})
STORED = plan_to_dag(plans.stored, team_path=plans.TEAM_PATH)
LINGERING = plan_to_dag(plans.lingering, team_path=plans.TEAM_PATH)

with DAG("timing_out", schedule=None, params={"pids": Param("", type="string")}):
    CoterieAgentOperator(
        task_id="linger",
        team_path=plans.TEAM_PATH,
        agent_type="lingerer",
        input={"pids": "{{ params.pids }}"},
        execution_timeout=timedelta(seconds=8),
    )

with DAG("taskflow", schedule=None):

    @task.coterie_agent(team_path=plans.TEAM_PATH, agent_type="payload")
    def ask():
        return {"bytes": 3000}

    @task
    def read(ref):
        return len(ref.load()["text"])

    read(ask())
