"""DAGs whose tasks lead to the traces of their runs, for the real scheduler."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, task

from airflow_provider_coterie import (
    CoterieAgentOperator,
    CoterieStateMachineOperator,
    CoterieWorkflowOperator,
    plan_to_dag,
)
from coterie import Go, Plan, State, StateMachine, Task
from tests.airflow.plans import TEAM_PATH, each

ARGS = {"retries": 0, "retry_delay": timedelta(hours=1), "team_path": TEAM_PATH}
TRACED, SERVED = {"coterie_conn_id": "coterie_traced"}, {"coterie_conn_id": "coterie_served"}

plan = Plan(
    "traced",
    [Task("list", "lister", input={"items": 2}), each("work"), Task("broken", "failing", depends_on=("list",))],
)
over = StateMachine(
    "over",
    [State("on", timeout_s=1, transitions=[Go("end", "timeout")]), State("end", final="succeeded")],
    initial="on",
)

PLAN = plan_to_dag(plan, team_path=TEAM_PATH, foreach_parts=2, on_partial="fail", default_args={"retries": 0}, **TRACED)

with DAG("led_to_pages", schedule=None, params={"gate": Param("", type="string")}, default_args={**ARGS, **SERVED}):
    CoterieAgentOperator(task_id="waiting", agent_type="gated", input={"gate": "{{ params.gate }}"})
    CoterieAgentOperator.partial(task_id="mapped", agent_type="echo").expand(input=[{"text": "a"}, {"text": "b"}])
    CoterieWorkflowOperator(task_id="whole", plan=Plan("whole", [Task("only", "echo", input={"text": "c"})]))
    CoterieStateMachineOperator(task_id="machine", machine=over)

    @task.coterie_agent(team_path=TEAM_PATH, agent_type="echo", **SERVED)
    def asked():
        return {"text": "d"}

    asked()

with DAG("led_nowhere", schedule=None, default_args=ARGS):
    CoterieAgentOperator(task_id="quiet", agent_type="echo", input={"text": "e"})
