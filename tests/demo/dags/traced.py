"""The run whose trace is looked at, as a DAG."""

from __future__ import annotations

from airflow_provider_coterie import plan_to_dag
from tests.support.traced import TEAM, plan

dag = plan_to_dag(plan, dag_id="traced", team_path=TEAM, schedule=None, foreach_parts=1, default_args={"retries": 0})
