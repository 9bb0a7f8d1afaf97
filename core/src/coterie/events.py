"""The one hook by which a run tells what happens: stable names, values as fields, never payloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from coterie.ids import TaskId, WorkflowId

__all__ = ["Event", "Listener"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run.

    Names: run.started, task.started, task.retrying, item.finished, task.finished, run.finished.
    Fields: run.* `tasks`, `status`; task.* `agent_type`, `agent_id`, `attempt`, `state`, `duration_s`, `error`,
    `wait_s`; item.* `key`, `index`, `total`, `state`, `error`. Only those that apply are there.
    """

    name: str
    workflow_id: WorkflowId
    task_id: TaskId | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


Listener: TypeAlias = Callable[[Event], None]
