"""DAGs whose agents are paid for, for the real scheduler: killed, cleared, filled in, overlapping."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from airflow_provider_coterie import CoterieAgentOperator, CoterieWorkflowOperator, plan_to_dag
from tests.airflow import paying_agents
from tests.airflow.losing_operators import DiesBeforeItsXComs
from tests.airflow.paying_agents import TEAM_PATH

PARAMS = {name: Param("", type="string") for name in ("billing", "gate", "pid", "broken", "killed")}
ARGS = {"team_path": TEAM_PATH, "retries": 1, "retry_delay": timedelta(seconds=1)}


def pays(what, **more):
    given = {"billing": "{{ params.billing }}", "what": what, **more}
    return {"agent_type": "payer", "input": given}


with DAG("killed", schedule=None, params=PARAMS, default_args=ARGS):
    DiesBeforeItsXComs(task_id="retried", **pays("killed/retried"))
    DiesBeforeItsXComs(task_id="unseen", retries=0, **pays("killed/unseen"))

with DAG("cleared", schedule=None, params=PARAMS, default_args=ARGS):
    CoterieAgentOperator(task_id="again", **pays("cleared/again"))
    CoterieAgentOperator(task_id="kept", on_clear="replay", **pays("cleared/kept"))
    CoterieAgentOperator(
        task_id="failed",
        agent_type="stepper",
        input={"billing": "{{ params.billing }}", "what": "cleared/failed", "broken": "{{ params.broken }}"},
    )

ITEMS = plan_to_dag(paying_agents.items, team_path=TEAM_PATH, foreach_parts=2)

with DAG("whole", schedule=None, params=PARAMS, default_args=ARGS):
    CoterieWorkflowOperator(
        task_id="plan",
        plan=paying_agents.whole,
        plan_params={"billing": "{{ params.billing }}", "killed": "{{ params.killed }}"},
    )

with DAG(
    "filled",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    # Over by now: it is filled in, and never due.
    end_date=datetime(2026, 1, 31, tzinfo=UTC),
    catchup=False,
    params=PARAMS,
    default_args=ARGS,
):
    CoterieAgentOperator(task_id="day", **pays("filled"))

with DAG("overlapping", schedule=None, params=PARAMS, default_args={**ARGS, "retries": 3}):
    CoterieAgentOperator(task_id="pay", **pays("overlapping", gate="{{ params.gate }}", pid="{{ params.pid }}"))

# Whose processes are told to stop: by a worker that is shut down, and by a person.
for name, more in {"finishes": {"coterie_conn_id": "coterie_generous"}, "handed_back": {}, "marked": {}}.items():
    with DAG(name, schedule=None, params=PARAMS, default_args=ARGS):
        CoterieAgentOperator(task_id="pay", **pays(name, gate="{{ params.gate }}", pid="{{ params.pid }}"), **more)
