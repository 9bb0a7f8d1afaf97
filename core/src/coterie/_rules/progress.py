"""Which task may run next: trigger rules, skip and failure propagation, cancellation.

Decides only: the caller runs what `start` and `settle` name and reports each end with `settle`. The same code
drives the in-process engine and the Prefect flow; where a scheduler drives, as on Airflow, `decide` tells afterwards
what became of the tasks that never ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from coterie._rules.plan import Graph
from coterie.errors import Misuse
from coterie.ids import TaskState
from coterie.task import TriggerRule

__all__ = ["Decision", "Progress", "decide"]

Decision = Literal["wait", "run", "skip", "block"]


def decide(rule: TriggerRule, total: int, succeeded: int, skipped: int, failed: int) -> Decision:
    """What a task does, given how many of its `total` upstream tasks ended how.

    `failed` counts failed, upstream_failed and cancelled. A failure decides at once where it decides at all; a
    skip only when all upstream tasks are done, so that the verdict never depends on who ended first.
    """
    if rule == "one_success" and succeeded:
        return "run"
    if rule in ("all_success", "none_failed") and failed:
        return "block"
    if succeeded + skipped + failed < total:
        return "wait"
    if rule == "one_success" and total:
        return "block" if failed else "skip"
    if rule == "all_success" and skipped:
        return "skip"
    return "run"


class Progress:
    """How far one run of a plan has come. Tasks are positions in the graph; nothing is awaited here."""

    __slots__ = (
        "_dependents",
        "_failed",
        "_graph",
        "_rules",
        "_simple",
        "_skipped",
        "_started",
        "_waiting",
        "states",
        "unsettled",
    )

    def __init__(self, graph: Graph, rules: Sequence[TriggerRule]) -> None:
        size = len(graph.ids)
        self._graph = graph
        self._dependents = graph.dependents
        self._rules = rules
        # Waits for all to succeed, and so far none did anything else.
        self._simple = [rule == "all_success" for rule in rules]
        self._waiting = [len(before) for before in graph.upstream]
        self._skipped = [0] * size
        self._failed = [0] * size
        self._started = [False] * size
        self.states: list[TaskState | None] = [None] * size
        self.unsettled = size

    def start(self) -> list[int]:
        """The tasks that wait for nobody, in the plan's order. They count as started."""
        ready = [i for i, count in enumerate(self._waiting) if not count]
        for i in ready:
            self._started[i] = True
        return ready

    def settle(self, position: int, state: TaskState) -> tuple[list[int], list[tuple[int, TaskState]]]:
        """Record how a started task ended.

        Returns the tasks that may run now, and those that never will, with their states.

        Raises:
            Misuse: the task has already ended; nothing is changed.
        """
        if self.states[position] is not None:
            raise Misuse(f"{self._graph.ids[position]!r} has already ended; settle a task once")
        ready: list[int] = []
        never: list[tuple[int, TaskState]] = []
        if state != "succeeded":
            self._propagate([(position, state)], ready, never)
            return ready, never
        # The common end, without the general case's bookkeeping: most tasks wait for all to succeed.
        self.states[position] = state
        self.unsettled -= 1
        waiting, simple = self._waiting, self._simple
        for after in self._dependents[position]:
            waiting[after] -= 1
            if not simple[after]:
                self._decide(after, ready, never)
            elif not waiting[after]:
                self._started[after] = True
                ready.append(after)
        return ready, never

    def cancel(self) -> list[int]:
        """Nothing more starts: the tasks that had not started are cancelled and returned."""
        stopped = [i for i, started in enumerate(self._started) if not started]
        for i in stopped:
            self._started[i] = True
            self._simple[i] = False
            self.states[i] = "cancelled"
        self.unsettled -= len(stopped)
        return stopped

    def _propagate(
        self, pending: list[tuple[int, TaskState]], ready: list[int], never: list[tuple[int, TaskState]]
    ) -> None:
        while pending:
            ended, how = pending.pop()
            self.states[ended] = how
            self.unsettled -= 1
            counts = self._skipped if how == "skipped" else self._failed
            for after in self._dependents[ended]:
                self._waiting[after] -= 1
                self._simple[after] = False
                counts[after] += 1
                before = len(never)
                self._decide(after, ready, never, propagate=False)
                pending.extend(never[before:])

    def _decide(self, i: int, ready: list[int], never: list[tuple[int, TaskState]], *, propagate: bool = True) -> None:
        if self._started[i]:
            return
        skipped, failed, waiting = self._skipped[i], self._failed[i], self._waiting[i]
        total = len(self._graph.upstream[i])
        decision = decide(self._rules[i], total, total - waiting - skipped - failed, skipped, failed)
        if decision == "wait":
            return
        # Marked as started, so that a later upstream end cannot decide it a second time.
        self._started[i] = True
        if decision == "run":
            ready.append(i)
            return
        verdict: TaskState = "skipped" if decision == "skip" else "upstream_failed"
        never.append((i, verdict))
        if propagate:
            self._propagate([(i, verdict)], ready, never)
