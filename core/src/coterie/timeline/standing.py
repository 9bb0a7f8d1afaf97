"""How far a run has come by its plan: what could have begun and has not, what never will, and what waits for what."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from coterie._rules.progress import Progress
from coterie.ids import TaskId, TaskState
from coterie.plan import Plan

__all__ = ["Ahead", "Standing", "standing_of"]


@dataclass(frozen=True, slots=True)
class Ahead:
    """A task of the plan that nothing is known of.

    waits_for: tasks before it that have not ended; of one that never begins, that have not ended well. because: the
    failed task that keeps it from ever beginning.
    """

    task_id: TaskId
    agent_type: str
    waits_for: tuple[TaskId, ...] = ()
    because: TaskId | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """due: tasks that could have begun, in the plan's order; ahead: the others of which nothing is known."""

    due: tuple[TaskId, ...]
    ahead: tuple[Ahead, ...]


def standing_of(plan: Plan, ended: Mapping[TaskId, TaskState], known: AbstractSet[TaskId]) -> Standing:
    """How far a run has come. ended: how those tasks ended that did; known: those of which anything is known.

    A task of which nothing is known, before one of which something is, was passed over.
    """
    graph = plan.graph
    progress = Progress(graph, [task.trigger_rule for task in plan.tasks])
    ready = set(progress.start())
    for i in graph.order:
        state = ended.get(graph.ids[i])
        if state is None and graph.ids[i] not in known and any(graph.ids[j] in known for j in graph.dependents[i]):
            state = "succeeded"
        if state is not None and progress.states[i] is None:
            ready.update(progress.settle(i, state)[0])
    due = [i for i in sorted(ready) if progress.states[i] is None and graph.ids[i] not in known]
    apart = {*due, *(i for i, name in enumerate(graph.ids) if name in known)}
    never = {i for i, state in enumerate(progress.states) if state == "upstream_failed"}
    culprits = _culprits(plan, ended, never)
    passed = {i for i, state in enumerate(progress.states) if state == "succeeded"}
    ahead = tuple(
        Ahead(task.id, task.agent_type, _waits_for(plan, i, progress), culprits.get(i))
        for i, task in enumerate(plan.tasks)
        if i not in apart and i not in passed
    )
    return Standing(tuple(graph.ids[i] for i in due), ahead)


def _waits_for(plan: Plan, position: int, progress: Progress) -> tuple[TaskId, ...]:
    graph, is_never = plan.graph, progress.states[position] == "upstream_failed"
    states = [(i, progress.states[i]) for i in graph.upstream[position]]
    return tuple(graph.ids[i] for i, state in states if state is None or (is_never and state != "succeeded"))


def _culprits(plan: Plan, ended: Mapping[TaskId, TaskState], never: AbstractSet[int]) -> dict[int, TaskId]:
    """The first failed task before each task that never begins."""
    graph = plan.graph
    found: dict[int, TaskId] = {}
    for i in filter(never.__contains__, graph.order):
        failed = next((graph.ids[j] for j in graph.upstream[i] if ended.get(graph.ids[j]) == "failed"), None)
        inherited = next((found[j] for j in graph.upstream[i] if j in found), None)
        if failed is not None or inherited is not None:
            found[i] = failed or str(inherited)
    return found
