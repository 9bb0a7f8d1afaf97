"""How the other tasks of a DAG run ended, as coterie's results.

Airflow's own state decides, a task's record explains: a record that the state contradicts is a stale one, of a try
before a clear or before the worker was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow_provider_coterie.wire import RECORD_KEY, unpack_record
from coterie import ArtifactStore, Ref, TaskResult
from coterie.conclude import lost, never_ran
from coterie.ids import TaskId
from coterie.items import recall_failed_items

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["Ended", "RunningTask", "pull_ends", "results_of"]

_RETURN_KEY = "return_value"


class RunningTask(Protocol):
    """What is used of Airflow's task instance."""

    dag_id: str
    run_id: str
    task_id: str

    def xcom_pull(self, task_ids: Any = None, *, key: str = ..., map_indexes: Any = ...) -> Any:
        """A value that another task of the run pushed."""
        ...

    def xcom_push(self, key: str, value: Any) -> None:
        """Push a value."""
        ...

    def get_task_breadcrumbs(self, dag_id: str, run_id: str) -> Any:
        """One row for each task instance of the run that has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """What Airflow knows of a task that ended: its state, and the raw XComs that it left."""

    state: str
    record: object = None
    output: object = None


def pull_ends(context: Context, airflow_ids: Mapping[TaskId, str]) -> dict[TaskId, Ended]:
    """Ask Airflow for the ends of other tasks of this run; those still running are left out. Blocking.

    Called before the event loop is entered: Airflow's own calls must not run inside it.
    """
    ti = cast("RunningTask", context["ti"])
    rows = ti.get_task_breadcrumbs(dag_id=ti.dag_id, run_id=ti.run_id)
    states = {row["task_id"]: row["state"] for row in rows if row["map_index"] == -1}
    return {
        name: _pull(ti, airflow_id, states[airflow_id])
        for name, airflow_id in airflow_ids.items()
        if airflow_id in states
    }


async def results_of(store: ArtifactStore, ends: Mapping[TaskId, Ended]) -> dict[TaskId, TaskResult]:
    """The results behind the ends; `removed` tasks, which the DAG no longer has, are left out."""
    found = {name: await _result(store, name, end) for name, end in ends.items()}
    return {name: result for name, result in found.items() if result is not None}


def _pull(ti: RunningTask, airflow_id: str, state: str) -> Ended:
    if state not in ("success", "failed"):
        return Ended(state)
    record = _pull_if_there(ti, airflow_id, RECORD_KEY)
    output = None
    # A task that is not coterie's may return what this process cannot read, and perhaps need not.
    with suppress(ImportError):
        output = _pull_if_there(ti, airflow_id, _RETURN_KEY)
    return Ended(state, record, output)


def _pull_if_there(ti: RunningTask, airflow_id: str, key: str) -> object:
    # Without a map index Airflow lists what there is; asked for one that is absent, it would log an error.
    found: object = ti.xcom_pull(task_ids=airflow_id, key=key)
    return None if found == [] else found


async def _result(store: ArtifactStore, name: TaskId, end: Ended) -> TaskResult | None:
    if end.state == "removed":
        return None
    if end.state in ("skipped", "upstream_failed"):
        return never_ran(name, "skipped" if end.state == "skipped" else "upstream_failed")
    record = await unpack_record(store, end.record)
    if end.state == "success":
        if record is None or record.state != "succeeded":
            # A task that is not ours, or that a person marked as a success.
            record = TaskResult(name, "succeeded")
    elif record is None or record.state == "succeeded":
        return lost(name)
    return await recall_failed_items(store, replace(record, task_id=name, output=_output(end.output, record)))


def _output(value: object, record: TaskResult) -> Any:
    if record.state == "succeeded" or (isinstance(value, Ref) and record.items is not None):
        return value
    return None
