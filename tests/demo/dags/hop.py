"""The run that goes on elsewhere, as a DAG."""

from __future__ import annotations

from airflow_provider_coterie import plan_to_dag
from tests.support.hop import TEAM, plan

dag = plan_to_dag(plan, dag_id="hop", team_path=TEAM, schedule=None, foreach_parts=2, default_args={"retries": 0})
