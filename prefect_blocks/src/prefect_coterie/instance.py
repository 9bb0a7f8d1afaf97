"""Tell lone tasks of one flow run apart that have the same agent type: by what is asked, and which of its equals it is.

A flow run that is retried, or started again in another process, comes to the same names: neither times nor Prefect's
ids of single task runs are in them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext

from coterie.ids import content_hash

__all__ = ["instance_here"]

_REMEMBERED = 10_000
# How often each was asked for, by flow run and its try; and what each task run was called, as its retries are.
_counts: OrderedDict[tuple[str, int], Counter[str]] = OrderedDict()
_names: OrderedDict[str, str] = OrderedDict()


def instance_here(agent_type: str, task_input: Mapping[str, Any]) -> str:
    """The name of the surrounding task run's work among those of its agent type in the flow run."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    digest = content_hash([agent_type, dict(task_input)])[:24]
    if task is None:
        return digest
    task_run = str(task.task_run.id)
    if task_run not in _names:
        _names[task_run] = _counted(digest, flow, task)
        _trim(_names)
    return _names[task_run]


def _counted(digest: str, flow: FlowRunContext | None, task: TaskRunContext) -> str:
    if flow is None or flow.flow_run is None or flow.detached:
        # In a process of its own, only Prefect knows which of the calls this is; it counts them in order.
        number = str(task.task_run.dynamic_key)
        return f"{digest}#{number}"
    run = str(flow.flow_run.id), flow.flow_run.run_count
    counts = _counts.setdefault(run, Counter())
    _trim(_counts)
    counts[digest] += 1
    return digest if counts[digest] == 1 else f"{digest}#{counts[digest]}"


def _trim(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)
