"""A plan's task inside a DAG: which plan it belongs to, and where the plan's other tasks are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from coterie import Plan, Task
from coterie.ids import TaskId

__all__ = ["PlanNode"]


@dataclass(frozen=True, slots=True, repr=False)
class PlanNode:
    """`task` of `plan`, compiled into the task group `group_id` of a DAG, or into the DAG itself (None)."""

    plan: Plan
    task: Task
    group_id: str | None = None

    def __repr__(self) -> str:
        # Airflow stores this in the serialized DAG: short, and the same in every parse of the same plan.
        return f"PlanNode({self.plan.name!r}, {self.task.id!r}, {self.plan.hash[:12]!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def airflow_id(self, task_id: TaskId) -> str:
        """The Airflow task whose state and return value stand for a task of the plan."""
        name = f"{self.group_id}.{task_id}" if self.group_id else task_id
        return f"{name}.gather" if self.plan.task(task_id).foreach is not None else name

    def upstream_ids(self) -> dict[TaskId, str]:
        """The Airflow tasks that stand for those this one waits for, by their ids in the plan."""
        return {name: self.airflow_id(name) for name in self.task.upstream}
