"""DAGs of tasks that workers perform, for the real scheduler."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_coterie import CoterieAgentOperator, plan_to_dag
from coterie import Plan, Task
from tests.airflow.remote_agents import TEAM_PATH

GATED = {"gate": {"$param": "gate"}, "notes": {"$param": "notes"}}
CONN = {"coterie_conn_id": "coterie_workers"}

plan = Plan(
    "remote_plan",
    params={"gate": "", "notes": ""},
    tasks=[
        Task("first", "near"),
        Task("left", "far", input=GATED, depends_on=("first",)),
        Task("right", "far", input=GATED, depends_on=("first",), timeout_s=300),
        Task("bad", "far", input={"fails": True, **GATED}, depends_on=("first",)),
        Task("last", "near", depends_on=("left", "right", "bad"), trigger_rule="all_done"),
    ],
)
REMOTE_PLAN = plan_to_dag(plan, team_path=TEAM_PATH, **CONN)

params = {"gate": Param("", type="string"), "notes": Param("", type="string")}
common = {"team_path": TEAM_PATH, "retries": 2, "retry_delay": timedelta(seconds=1), **CONN}
given = {"agent_type": "far", "input": {"gate": "{{ params.gate }}", "notes": "{{ params.notes }}"}}

for name, count in {"remote_one": 1, "remote_some": 6, "remote_many": 50}.items():
    with DAG(name, schedule=None, params=params, default_args=common, max_active_tasks=count):
        CoterieAgentOperator.partial(task_id="asked", **given).expand(agent_priority=[0] * count)
