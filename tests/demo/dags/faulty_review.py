"""The faulty review as a DAG."""

from __future__ import annotations

from airflow_provider_coterie import plan_to_dag
from tests.support.faulty_review import plan

dag = plan_to_dag(plan(), team_path="tests.support.faulty_review:team", dag_id="faulty_review", schedule=None)
