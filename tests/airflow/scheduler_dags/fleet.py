"""DAGs of a team with policies, for the real scheduler."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_coterie import CoterieAgentOperator, CoterieBreakerSensor, CoteriePoolSensor
from tests.airflow.fleet_agents import TEAM_PATH

common = {"team_path": TEAM_PATH, "retries": 2, "retry_delay": timedelta(seconds=1)}

with DAG("refused", schedule=None, default_args={**common, "agent_type": "brittle"}):
    fails = CoterieAgentOperator(task_id="fails", input={"fails": True})
    asked = CoterieAgentOperator(task_id="asked", trigger_rule="all_done")
    closed = CoterieBreakerSensor(task_id="closed", breaker="brittle", trigger_rule="all_done", deferrable=True)
    fails >> [asked, closed]

with DAG("queueing", schedule=None, params={"gate": Param("", type="string")}, default_args=common):
    CoterieAgentOperator.partial(task_id="work", agent_type="single", input={"gate": "{{ params.gate }}"}).expand(
        agent_priority=[0] * 6
    )
    CoteriePoolSensor(task_id="free", agent_type="single", deferrable=True)
