"""Tasks that know, in whatever process they run, which of the calls they are that their flow run has submitted."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.context import FlowRunContext

__all__ = ["number_of", "numbered"]

P = ParamSpec("P")
R = TypeVar("R")

_REMEMBERED = 1000
# How many were submitted, by flow run and its try.
_submitted: OrderedDict[tuple[str, int], int] = OrderedDict()
_counting = threading.Lock()


def numbered(task: Task[P, R]) -> Task[P, R]:
    """The same task, each submitted call of which has its number with it."""
    task.__class__ = _Numbered
    return task


def number_of(task: Task[..., Any]) -> int | None:
    """Which of the submitted calls of its flow run's try this is; None where it was not submitted as one."""
    return task.number if isinstance(task, _Numbered) else None


class _Numbered(Task[P, R]):
    """Prefect hands the task itself to the other process, and nothing else that would tell one call from another."""

    number: int | None = None

    def with_options(self, **options: Any) -> Any:
        return numbered(super().with_options(**options))

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        sent: Any = copy.copy(self)
        sent.number = _next_number()
        return Task.submit(sent, *args, **kwargs)


def _next_number() -> int | None:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.detached:
        return None
    run = str(context.flow_run.id), context.flow_run.run_count
    with _counting:
        _submitted[run] = _submitted.get(run, 0) + 1
        while len(_submitted) > _REMEMBERED:
            _submitted.popitem(last=False)
        return _submitted[run]
