"""Tell lone tasks of one flow run apart that have the same agent type: by what is asked, and which of its equals it is.

A flow run that is retried, or started again in another process, comes to the same names, and so does a task that is
retried with what it calls: neither times nor Prefect's ids of single task runs are in them.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext

from coterie.ids import content_hash
from prefect_coterie.numbered import number_of

__all__ = ["instance_here"]

_REMEMBERED = 10_000
# How often each was asked for, by flow run and its try; and what each task run was called, as its retries are.
_counts: OrderedDict[tuple[str, int], Counter[str]] = OrderedDict()
_names: OrderedDict[str, str] = OrderedDict()
# The same within a task that calls them: by that task run and its try; and what the first, second, … of one was called.
_inner_counts: OrderedDict[tuple[str, int], Counter[str]] = OrderedDict()
_inner_names: OrderedDict[tuple[str, str, int], str] = OrderedDict()
# Task runners' threads count at the same time.
_counting = threading.Lock()


def instance_here(agent_type: str, task_input: Mapping[str, Any]) -> str:
    """The name of the surrounding task run's work among those of its agent type in the flow run."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    digest = content_hash([agent_type, dict(task_input)])[:24]
    if task is None:
        return digest
    task_run = str(task.task_run.id)
    with _counting:
        if task_run not in _names:
            _names[task_run] = _named(digest, flow, task)
            _trim(_names)
        return _names[task_run]


def _named(digest: str, flow: FlowRunContext | None, task: TaskRunContext) -> str:
    caller = _caller_of(task)
    if caller is None:
        return _counted(digest, flow, task)
    counts = _inner_counts.setdefault((str(caller.task_run.id), caller.task_run.run_count), Counter())
    _trim(_inner_counts)
    counts[digest] += 1
    place = str(caller.task_run.id), digest, counts[digest]
    if place not in _inner_names:
        _inner_names[place] = _counted(digest, flow, task)
        _trim(_inner_names)
    return _inner_names[place]


def _counted(digest: str, flow: FlowRunContext | None, task: TaskRunContext) -> str:
    if flow is None or flow.flow_run is None or flow.detached:
        # In a process of its own, only whoever submitted it knows which of the calls this is: he has counted them.
        number = number_of(task.task)
        return f"{digest}#{task.task_run.dynamic_key}" if number is None else f"{digest}#call-{number}"
    run = str(flow.flow_run.id), flow.flow_run.run_count
    counts = _counts.setdefault(run, Counter())
    _trim(_counts)
    counts[digest] += 1
    return digest if counts[digest] == 1 else f"{digest}#{counts[digest]}"


def _caller_of(task: TaskRunContext) -> TaskRunContext | None:
    """The task run that called this one, if one did: what was the context before it."""
    found: object = task
    # Prefect tells no other way which try of the caller it is; of a task run there may be several contexts.
    while isinstance(found, TaskRunContext):
        if found.task_run.id != task.task_run.id:
            return found
        token = getattr(found, "_token", None)
        found = token.old_value if token is not None else None
    return None


def _trim(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)
