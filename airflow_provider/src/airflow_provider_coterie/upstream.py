"""How the other tasks of a DAG run ended, as coterie's results.

Airflow's own state decides, a task's record explains: a record that the state contradicts is a stale one, of a try
before a clear or before the worker was lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow_provider_coterie.wire import RECORD_KEY, unpack_record
from coterie import ArtifactStore, Ref, TaskResult
from coterie.conclude import lost, never_ran
from coterie.errors import Misuse
from coterie.ids import TaskId, content_hash
from coterie.items import recall_failed_items

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["Ended", "RunningTask", "pull_ends", "pull_record", "results_of"]

_RETURN_KEY = "return_value"


class RunningTask(Protocol):
    """What is used of Airflow's task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None

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

    Of those in the same mapped task group, the copies beside this one count. Called before the event loop is entered:
    Airflow's own calls must not run inside it.
    """
    ti = cast("RunningTask", context["ti"])
    rows = ti.get_task_breadcrumbs(dag_id=ti.dag_id, run_id=ti.run_id)
    states = {(row["task_id"], row["map_index"]): row["state"] for row in rows}
    beside = _beside(context)
    at = {name: (airflow_id, _index(ti, airflow_id, beside)) for name, airflow_id in airflow_ids.items()}
    return {name: _pull(ti, *place, states[place]) for name, place in at.items() if place in states}


def pull_record(context: Context, airflow_id: str) -> object:
    """The record that another task of this run left, as it is; None if it left none. Blocking."""
    ti = cast("RunningTask", context["ti"])
    return _pull_if_there(ti, airflow_id, _index(ti, airflow_id, _beside(context)), RECORD_KEY)


async def results_of(store: ArtifactStore, ends: Mapping[TaskId, Ended]) -> dict[TaskId, TaskResult]:
    """The results behind the ends; `removed` tasks, which the DAG no longer has, are left out."""
    found = {name: await _result(store, name, end) for name, end in ends.items()}
    return {name: result for name, result in found.items() if result is not None}


def _beside(context: Context) -> Collection[str]:
    """The tasks of the mapped task group that this one is in: there is a copy of each beside it."""
    map_index = context["ti"].map_index
    if map_index is None or map_index < 0:
        return ()
    group = context["task"].get_closest_mapped_task_group()
    return {task.task_id for task in group.iter_tasks()} if group is not None else ()


def _index(ti: RunningTask, airflow_id: str, beside: Collection[str]) -> int:
    return ti.map_index if airflow_id in beside and ti.map_index is not None else -1


def _pull(ti: RunningTask, airflow_id: str, index: int, state: str) -> Ended:
    if state not in ("success", "failed"):
        return Ended(state)
    record = _pull_if_there(ti, airflow_id, index, RECORD_KEY)
    output = None
    # A task that is not coterie's may return what this process cannot read, or no JSON, and perhaps need not.
    with suppress(ImportError, Misuse):
        found = _pull_if_there(ti, airflow_id, index, _RETURN_KEY)
        if not isinstance(found, Ref):
            content_hash(found)
        output = found
    return Ended(state, record, output)


def _pull_if_there(ti: RunningTask, airflow_id: str, index: int, key: str) -> object:
    if index >= 0:
        return ti.xcom_pull(task_ids=airflow_id, key=key, map_indexes=index)
    # Without a map index Airflow lists what there is; asked for one that is absent, it would log an error.
    found: list[object] = ti.xcom_pull(task_ids=[airflow_id], key=key)
    return found[0] if found else None


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
