"""The order in which steps are undone: each after all that came after it, side by side where nothing says otherwise.

A step's compensation starts once those of all steps that depend on it have ended, also where a step without one lies
between. O(steps + edges), however many of them are undone.

Source: Garcia-Molina and Salem, "Sagas", 1987; their chain is any acyclic graph here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from coterie._rules.plan import Graph
from coterie._rules.saga_policy import Due
from coterie.errors import Misuse

__all__ = ["UndoEnd", "UndoState", "Undoing"]

# How a compensation that ran ended: for good.
UndoEnd = Literal["done", "failed"]
# "blocked": not run, because a compensation that had to come before it failed; "unclear": see `Due`.
UndoState = Literal["waiting", "running", "done", "failed", "blocked", "unclear"]

_LEFT = frozenset({"failed", "blocked", "unclear"})


class Undoing:
    """How far the undoing of one run has come. Steps are positions in the graph; nothing is awaited here.

    due: of each step. stop: whether a compensation that failed blocks those that come after it.
    ended: the compensations that ended before, in a process that is gone; they are not run again.
    """

    __slots__ = ("_ended", "_graph", "_held", "_stop", "_waiting", "due", "states", "unsettled")

    def __init__(self, graph: Graph, due: Sequence[Due], *, stop: bool, ended: Mapping[int, UndoEnd]) -> None:
        self.due = due
        self.states: list[UndoState | None] = ["waiting" if one == "undo" else None for one in due]
        self.unsettled = len(due)
        self._graph = graph
        self._stop = stop
        self._ended = ended
        self._waiting = [len(after) for after in graph.dependents]
        self._held = [False] * len(due)

    @property
    def left(self) -> list[int]:
        """The steps that stay as they are, for a person to look at; in the plan's order."""
        return [i for i, state in enumerate(self.states) if state in _LEFT]

    def start(self) -> list[int]:
        """The steps whose compensations may start now. They count as running."""
        return self._clear([i for i, waiting in enumerate(self._waiting) if not waiting])

    def settle(self, position: int, end: UndoEnd) -> list[int]:
        """Record how a running compensation ended; those that may start now.

        Raises:
            Misuse: it does not run; nothing is changed.
        """
        if self.states[position] != "running":
            raise Misuse(
                f"the compensation of {self._graph.ids[position]!r} does not run; settle each once that was started"
            )
        self.states[position] = end
        return self._clear(self._pass(position))

    def _clear(self, reached: list[int]) -> list[int]:
        """Go on from steps before which nothing is left to undo, to the next compensations that have to run."""
        ready: list[int] = []
        for i in reached:  # grows while it is read
            self.states[i] = state = self._decide(i)
            if state == "running":
                ready.append(i)
            else:
                reached += self._pass(i)
        return ready

    def _decide(self, i: int) -> UndoState | None:
        if self.due[i] == "nothing":
            return None
        if i in self._ended:
            return self._ended[i]
        if self.due[i] == "unclear":
            return "unclear"
        return "blocked" if self._held[i] else "running"

    def _pass(self, i: int) -> list[int]:
        """Let the steps before this one know that it is over; those for which it was the last."""
        self.unsettled -= 1
        hold = self._stop and (self._held[i] or self.states[i] in _LEFT)
        free = []
        for before in self._graph.upstream[i]:
            self._held[before] |= hold
            self._waiting[before] -= 1
            if not self._waiting[before]:
                free.append(before)
        return free
