"""The plan whose agents tell whatever secrets they know."""

from __future__ import annotations

from airflow_provider_coterie import plan_to_dag
from tests.fleet.planted.loose import plan

LOOSE = plan_to_dag(plan, team_path="tests.fleet.planted.loose:told", default_args={"retries": 0})
