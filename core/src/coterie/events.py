"""The one hook by which a run tells what happens: stable names, values as fields, never payloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from coterie.ids import TaskId, WorkflowId

__all__ = ["Event", "Listener"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run, or to what all runs share; then `workflow_id` is empty.

    Names: run.started, task.started, task.waiting, task.refused, task.retrying, task.fell_back, task.replayed,
    task.resumed, item.finished, task.finished, run.finished; approval.asked, approval.decided; machine.moved;
    saga.undoing, saga.left, saga.finished;
    breaker.opened, breaker.half_opened, breaker.closed, breaker.forced, breaker.store_failed,
    breaker.store_recovered; state.store_failed, state.store_recovered; budget.overspent;
    events.lost, events.dead, events.unreadable, events.expelled, events.store_failed, events.store_recovered.
    Fields: run.* `tasks`, `status`; task.* `agent_type`, `agent_id`, `attempt`, `state`, `duration_s`, `error`,
    `wait_s`, `fallback`, `replayed`, `by`, `at`, `usage`, `item`, `steps`; approval.* `question`, `place`, `choice`,
    `by`; machine.* `state`, `trigger`, `to`, `visit`, `who`; saga.* `why`, `tasks`, `left`,
    `outcome`; item.* `key`, `index`, `total`, `state`, `agent_type`, `agent_id`,
    `replayed`, `error`;
    breaker.* `breaker`, `state`, `before`, `generation`, `retry_after_s`, `failures`, `calls`, `slow`, `opened`,
    `error`; state.* `state`, `error`; budget.* `budget`, `id`, `over`, `limit`; events.* `topic`, `group`,
    `lost`, `position`, `error`. Only those that apply are there.
    """

    name: str
    workflow_id: WorkflowId = ""
    task_id: TaskId | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


Listener: TypeAlias = Callable[[Event], None]
