"""What makes a list of tasks a plan: unique ids, known dependencies, no cycles; and its graph.

O(tasks + edges), and iterative: a chain of 100,000 tasks needs no deep stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coterie.errors import CycleFound, DuplicateTask, PlanError, UnknownDependency
from coterie.ids import TaskId
from coterie.task import Task

__all__ = ["Graph", "build_graph", "find_cycle", "resolve_outputs"]


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A plan by position: task i waits for `upstream[i]` and is waited for by `dependents[i]`."""

    ids: tuple[TaskId, ...]
    position: dict[TaskId, int]
    upstream: tuple[tuple[int, ...], ...]
    dependents: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]

    @property
    def leaves(self) -> tuple[TaskId, ...]:
        """The tasks that nobody waits for, in the plan's order."""
        return tuple(self.ids[i] for i, waiting in enumerate(self.dependents) if not waiting)

    def depth(self) -> int:
        """Tasks on the longest path."""
        level = [1] * len(self.ids)
        for i in self.order:
            for after in self.dependents[i]:
                level[after] = max(level[after], level[i] + 1)
        return max(level, default=0)


def build_graph(tasks: Sequence[Task]) -> Graph:
    """Validate the tasks of a plan and return their graph.

    Raises:
        DuplicateTask, UnknownDependency, CycleFound: each names the culprit; a cycle is given as a path.
    """
    position: dict[TaskId, int] = {}
    for i, task in enumerate(tasks):
        if task.id in position:
            raise DuplicateTask(task.id)
        position[task.id] = i
    upstream = tuple(_positions(task.id, task.upstream, position) for task in tasks)
    dependents: list[list[int]] = [[] for _ in tasks]
    for i, before in enumerate(upstream):
        for j in before:
            dependents[j].append(i)
    order = _topological(upstream, dependents)
    if len(order) < len(tasks):
        raise CycleFound([tasks[i].id for i in find_cycle(upstream)])
    return Graph(tuple(position), position, upstream, tuple(map(tuple, dependents)), tuple(order))


def resolve_outputs(outputs: Iterable[TaskId] | None, graph: Graph) -> tuple[TaskId, ...]:
    """The plan's outputs: as declared, by default its leaves.

    Raises:
        UnknownDependency: an output is not a task of the plan.
        PlanError: the declared outputs are an empty list.
    """
    if outputs is None:
        return graph.leaves
    declared = tuple(dict.fromkeys(outputs))
    if not declared:
        raise PlanError("outputs is an empty list; name at least one task, or leave it out for the leaves")
    for name in declared:
        if name not in graph.position:
            raise UnknownDependency("outputs", name, graph.position)
    return declared


def find_cycle(upstream: Sequence[Sequence[int]]) -> list[int]:
    """Positions along one cycle, in the order of waiting, first and last the same; empty if there is none."""
    new, open_, closed = 0, 1, 2
    mark = [new] * len(upstream)
    for root in range(len(upstream)):
        if mark[root] != new:
            continue
        path, pending = [root], [iter(upstream[root])]
        mark[root] = open_
        while path:
            for after in pending[-1]:
                if mark[after] == open_:
                    return [*path[path.index(after) :], after]
                if mark[after] == new:
                    mark[after] = open_
                    path.append(after)
                    pending.append(iter(upstream[after]))
                    break
            else:
                mark[path.pop()] = closed
                pending.pop()
    return []


def _positions(task_id: TaskId, names: Iterable[TaskId], position: dict[TaskId, int]) -> tuple[int, ...]:
    try:
        return tuple([position[name] for name in names])
    except KeyError as missing:
        raise UnknownDependency(task_id, missing.args[0], position) from None


def _topological(upstream: Sequence[Sequence[int]], dependents: Sequence[Sequence[int]]) -> list[int]:
    waiting = [len(before) for before in upstream]
    order = [i for i, count in enumerate(waiting) if count == 0]
    for i in order:  # grows while it is read: Kahn's algorithm
        for after in dependents[i]:
            waiting[after] -= 1
            if waiting[after] == 0:
                order.append(after)
    return order
