"""DAGs with people in the loop, for the real scheduler."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from dags import review_until_approved

from airflow_provider_coterie import CoterieApprovalOperator, CoterieStateMachineOperator, plan_to_dag
from coterie import Approval
from tests.airflow import reviewing

ARGS = {"retries": 0, "retry_delay": timedelta(hours=1)}
WORKING = {**ARGS, "team_path": reviewing.TEAM_PATH}

EXAMPLE = review_until_approved.dag
# Airflow looks for it there.
EXAMPLE.fileloc = __file__

with DAG("sent_elsewhere", schedule=None, default_args=WORKING):
    CoterieStateMachineOperator(task_id="article", machine=reviewing.machine)

with DAG("with_a_reason", schedule=None, default_args=WORKING):
    CoterieStateMachineOperator(task_id="decision", machine=reviewing.guarded)

SIGNED = plan_to_dag(reviewing.signed, team_path=reviewing.TEAM_PATH, default_args=ARGS)
REJECTED = plan_to_dag(reviewing.signed, dag_id="rejected", team_path=reviewing.TEAM_PATH, default_args=ARGS)
KEPT = plan_to_dag(reviewing.signed, dag_id="kept", team_path=reviewing.TEAM_PATH, on_clear="replay", default_args=ARGS)

with DAG("of_ann", schedule=None, default_args=ARGS):
    CoterieApprovalOperator(
        task_id="decision",
        approval=Approval("Shall it go on?", assignees=("ann",)),
        input={"about": "{{ dag.dag_id }}"},
    )

with DAG("of_this_try", schedule=None, default_args=ARGS):
    CoterieApprovalOperator(task_id="decision", question="Is it right?", input={"try": "{{ ti.try_number }}"})

with DAG("too_late", schedule=None, default_args=ARGS):
    CoterieApprovalOperator(task_id="decision", approval=Approval("Quickly: shall it?", timeout_s=1))

with DAG("by_default", schedule=None, default_args=ARGS):
    CoterieApprovalOperator(
        task_id="decision", approval=Approval("Unless somebody minds?", timeout_s=1, on_timeout="approve")
    )
