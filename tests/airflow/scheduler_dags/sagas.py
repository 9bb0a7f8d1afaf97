"""DAGs whose runs are undone when they fail, for the real scheduler."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_coterie import plan_to_dag
from tests.support import provisioning
from tests.support.provisioning import TEAM_PATH

ARGS = {"retries": 1, "retry_delay": timedelta(seconds=1)}

CHAIN = plan_to_dag(provisioning.chain, dag_id="saga_chain", team_path=TEAM_PATH, default_args=ARGS)
FLEET = plan_to_dag(provisioning.fleet, dag_id="saga_fleet", team_path=TEAM_PATH, foreach_parts=2, default_args=ARGS)
RARE = plan_to_dag(provisioning.rare, dag_id="saga_rare", team_path=TEAM_PATH, default_args=ARGS)
