"""Where a run stands, from its events alone. No clock, no drawing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from coterie.cli.words import answer_line
from coterie.events import Event
from coterie.ids import RunStatus, TaskId, TaskState
from coterie.plan import Plan

__all__ = ["Board", "Row"]

RowState = Literal["waiting", "running", "retrying", "asking"] | TaskState


@dataclass(slots=True, eq=False)
class Row:
    """One task. `items_total` is None unless an item of a foreach has ended.

    replayed: whether it had ended before, and nobody did it now. question: what a person is asked; how: the line that
    answers it.
    """

    task_id: TaskId
    agent_type: str
    is_foreach: bool = False
    state: RowState = "waiting"
    attempt: int = 1
    items_done: int = 0
    items_failed: int = 0
    items_total: int | None = None
    duration_s: float = 0.0
    error: str | None = None
    replayed: bool = False
    items_replayed: int = 0
    question: str = ""
    how: str = ""


class Board:
    """The tasks of a run. `apply` costs the same however large the plan is."""

    def __init__(self, plan: Plan) -> None:
        self.plan_name = plan.name
        self.rows = {task.id: Row(task.id, task.agent_type, task.foreach is not None) for task in plan.tasks}
        self._approvals = {task.id: task.approval for task in plan.tasks if task.approval is not None}
        self.counts: Counter[RowState] = Counter({"waiting": len(self.rows)})
        self.status: RunStatus | None = None
        self._running: dict[TaskId, None] = {}
        self._recent: dict[TaskId, None] = {}

    @property
    def done(self) -> int:
        """Tasks that have ended."""
        return len(self.rows) - sum(self.counts[state] for state in ("waiting", "running", "retrying", "asking"))

    def apply(self, event: Event) -> Row | None:
        """Note what happened; the row that it concerns, if any."""
        if event.name == "run.finished":
            self.status = event.fields["status"]
        row = self.rows.get(event.task_id) if event.task_id is not None else None
        if row is not None:
            self._apply(row, event)
        return row

    def shown(self, limit: int) -> list[Row]:
        """At most `limit` rows: all in the plan's order, or else what runs, then what ended last."""
        if len(self.rows) <= limit:
            return list(self.rows.values())
        names = [*self._running, *reversed(self._recent)]
        return [self.rows[name] for name in names[:limit]]

    def _apply(self, row: Row, event: Event) -> None:
        fields = event.fields
        if event.name == "task.started":
            self._enter(row, "running")
        elif event.name == "task.retrying" and not row.is_foreach:
            row.attempt = fields["attempt"] + 1
            self._enter(row, "retrying")
        elif event.name == "approval.asked":
            how = answer_line(event.workflow_id, row.task_id, self._approvals[row.task_id])
            row.question, row.how = fields["question"], how
            self._enter(row, "asking")
        elif event.name == "item.finished":
            row.items_total = fields["total"]
            row.items_done += 1
            row.items_failed += fields["state"] == "failed"
        elif event.name == "task.replayed":
            row.items_replayed += "item" in fields
        elif event.name == "task.finished":
            all_items = row.is_foreach and 0 < row.items_replayed == row.items_done
            row.replayed = fields.get("replayed", False) or all_items
            row.duration_s = fields.get("duration_s", 0.0)
            row.error = fields.get("error")
            self._enter(row, fields["state"])

    def _enter(self, row: Row, state: RowState) -> None:
        self.counts[row.state] -= 1
        self.counts[state] += 1
        row.state = state
        if state in ("running", "retrying", "asking"):
            self._running[row.task_id] = None
            return
        self._running.pop(row.task_id, None)
        self._recent[row.task_id] = None
        if len(self._recent) > 100:
            del self._recent[next(iter(self._recent))]
