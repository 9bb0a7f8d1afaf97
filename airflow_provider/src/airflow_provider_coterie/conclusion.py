"""What a run leaves for people and for other DAGs: its result by reference, its status in a few words."""

from __future__ import annotations

from typing import Any, Literal, get_args

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_coterie.wire import STATUS_KEY, pack_status
from coterie import Ref, SagaResult, WorkflowResult
from coterie.errors import PolicyError
from coterie.saga.telling import undo_summary

__all__ = ["OnPartial", "check_on_partial", "missing_of", "publish"]

OnPartial = Literal["succeed", "fail"]


def check_on_partial(value: str) -> OnPartial:
    """Return `value` if it says what a partial run does to the DAG run.

    Raises:
        PolicyError: it does not.
    """
    for known in get_args(OnPartial):
        if value == known:
            return known  # type: ignore[no-any-return]  # get_args forgets the type
    raise PolicyError(f"on_partial is {value!r}; use 'succeed' or 'fail'")


def missing_of(result: WorkflowResult) -> list[str]:
    """What did not come out, in the plan's order: tasks that failed or were blocked, and failed items by number."""
    missing = []
    for task in result:
        if task.items is not None and task.items.failed:
            missing.append(f"{task.task_id} ({task.items.failed} of {task.items.total} items)")
        elif task.state not in ("succeeded", "skipped"):
            missing.append(task.task_id)
    return missing


def publish(context: Context, ref: Ref, result: WorkflowResult, on_partial: OnPartial) -> Ref:
    """Push the run's status; its result, at `ref`, is the return value, also of a failing task.

    Raises:
        AirflowFailException: the run failed, or is partial where that counts as failure.
    """
    ti: Any = context["ti"]
    missing = missing_of(result)
    undone = result if isinstance(result, SagaResult) and result.went_back else None
    outcome, letters = (undone.outcome, undone.dead_letters) if undone is not None else (None, ())
    left = [letter.task_id for letter in letters]
    ti.xcom_push(STATUS_KEY, pack_status(result.status, result.workflow_id, missing, saga=outcome, left=left))
    if result.status == "succeeded" or (result.status == "partial" and on_partial == "succeed"):
        return ref
    ti.xcom_push("return_value", ref)
    ended = f"the run of {result.plan_name!r} ended {result.status}; missing: {', '.join(missing)}"
    raise AirflowFailException(ended if undone is None else f"{ended}; {undo_summary(undone)}")
