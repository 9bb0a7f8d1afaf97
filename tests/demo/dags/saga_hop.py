"""A run that is undone elsewhere: Airflow would go on with it in half an hour."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_coterie import plan_to_dag
from tests.support.provisioning import TEAM_PATH, chain

dag = plan_to_dag(
    chain, dag_id="saga_hop", team_path=TEAM_PATH, default_args={"retries": 0, "retry_delay": timedelta(minutes=30)}
)
