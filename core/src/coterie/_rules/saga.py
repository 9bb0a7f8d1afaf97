"""What a run does next that is undone if it fails: which steps may begin, then which compensations, and how it ended.

It goes forward until its failure is certain. From then on no step begins; those that run are waited for; then whatever
finished is undone (`_rules.undo`). Once anything is undone the run never goes forward again.

All follows from what is recorded: which steps began, how they ended, that the run is undone, which compensations ended.
`resume` makes of the records what the process that wrote them had made of the events, in whatever order these came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from coterie._rules.plan import Graph
from coterie._rules.progress import Progress
from coterie._rules.saga_policy import SagaPolicy, StepEnd, Verdict, due
from coterie._rules.status import run_status
from coterie._rules.undo import UndoEnd, Undoing
from coterie.errors import Misuse
from coterie.ids import RunStatus, TaskState
from coterie.task import TriggerRule, Undoable

__all__ = ["Next", "SagaOutcome", "SagaProgress", "StepRecord", "Why"]

# "compensation_failed": something is left for a person to look at.
SagaOutcome = Literal["succeeded", "compensated", "compensation_failed"]
# Why a run is undone: it failed, or a person stopped it and wants it undone.
Why = Literal["failed", "cancelled"]

_DID: dict[TaskState, StepEnd] = {"succeeded": "succeeded", "failed": "failed", "skipped": "absent"}


class StepRecord(NamedTuple):
    """What is recorded of a step that began. state: how it ended; None if nobody knows.

    in_part: whether it did not succeed, and yet did something that has to be undone (a foreach, some of whose items
    succeeded). lost: whether it counts as failed, and yet nobody knows what it did: its worker was lost in it.
    """

    state: TaskState | None
    in_part: bool = False
    lost: bool = False

    @property
    def did(self) -> StepEnd:
        """What it did, as far as that has to be undone."""
        if self.in_part:
            return "succeeded"
        return "lost" if self.state is None or self.lost else _DID[self.state]


class Next(NamedTuple):
    """What follows from an event: steps and compensations that may start, and steps that never will."""

    steps: list[int]
    compensations: list[int]
    never: list[tuple[int, TaskState]]


class SagaProgress:
    """How far a run has come. Steps are positions in the graph; nothing is awaited here.

    Call `resume` once, then report each event: `begin`, `settle` and `lose` of steps, `undone` of compensations,
    `demand` from outside. A step that may start has not begun until `begin` says so.

    undoable: of each step, what its compensation is for; None where it has none. outputs: the positions of the plan's.
    """

    __slots__ = (
        "_did",
        "_ended_before",
        "_forward",
        "_graph",
        "_open",
        "_outputs",
        "_policy",
        "_recorded",
        "_running",
        "_undoable",
        "_verdict",
        "undoing",
        "why",
    )

    def __init__(
        self,
        graph: Graph,
        rules: Sequence[TriggerRule],
        undoable: Sequence[Undoable | None],
        outputs: Sequence[int],
        policy: SagaPolicy,
    ) -> None:
        size = len(graph.ids)
        self.why: Why | None = None
        self.undoing: Undoing | None = None
        self._graph = graph
        self._undoable = undoable
        self._policy = policy
        self._forward = Progress(graph, rules)
        # As far as it has to be undone.
        self._did: list[StepEnd] = ["absent"] * size
        # May begin; and have begun, and neither ended nor been lost.
        self._open: set[int] = set()
        self._running: set[int] = set()
        self._outputs = outputs
        self._verdict = Verdict(policy, outputs)
        # Of steps that by the rules could not have run.
        self._recorded: dict[int, TaskState] = {}
        self._ended_before: Mapping[int, UndoEnd] = {}

    @property
    def states(self) -> list[TaskState | None]:
        """How the steps ended. Those that never began because the run was undone are cancelled."""
        return self._forward.states

    @property
    def outcome(self) -> SagaOutcome | None:
        """How it all ended; None while something runs or may start."""
        if self.undoing is None:
            return None if self._forward.unsettled or self._running else "succeeded"
        if self.undoing.unsettled:
            return None
        return "compensation_failed" if self.undoing.left else "compensated"

    @property
    def status(self) -> RunStatus | None:
        """The run's status, once it has an outcome: what was undone is never a success, not even in part."""
        if self.outcome is None:
            return None
        if self.why is not None:
            return self.why
        states = [state for state in self.states if state is not None]
        return run_status(states, [states[i] for i in self._outputs])

    def resume(self, steps: Mapping[int, StepRecord], undone: Mapping[int, UndoEnd], *, why: Why | None = None) -> Next:
        """Begin where the records end: without any, at the beginning.

        why: as recorded when the first compensation was about to start, or by a person's demand.
        """
        self.why = why or ("failed" if undone else None)
        self._ended_before = undone
        ready, never = self._forward.start(), list[tuple[int, TaskState]]()
        unfinished: list[int] = []
        for i, begun in steps.items():
            self._did[i] = begun.did
        for i in ready:  # grows while it is read
            record = steps.get(i)
            if record is None or record.state is None:
                unfinished.append(i)
                continue
            following, blocked = self._move(i, record.state)
            ready += following
            never += blocked
        reached = {*unfinished, *(i for i, state in enumerate(self.states) if state is not None)}
        self._recorded = {i: begun.state or "failed" for i, begun in steps.items() if i not in reached}
        for i in self._recorded:
            if steps[i].state is not None:
                self._verdict.note(i, self._recorded[i])
        return self._next(sorted(unfinished), never)

    def begin(self, position: int) -> bool:
        """Whether the step may begin; if so, it runs until it is settled or lost.

        Raises:
            Misuse: it may not: it waits for others, runs already, or has ended; nothing is changed.
        """
        if position not in self._open:
            raise Misuse(f"{self._graph.ids[position]!r} waits, runs or has ended; begin what may start, once")
        if self.why is not None:
            return False
        self._open.discard(position)
        self._running.add(position)
        return True

    def settle(self, position: int, state: TaskState, *, in_part: bool = False) -> Next:
        """Record how a running step ended; in_part: see `StepRecord`.

        Raises:
            Misuse: it does not run, or this is no end (a cancelled step is lost); nothing is changed.
        """
        if position not in self._running or state not in _DID:
            raise Misuse(f"{self._graph.ids[position]!r} cannot end {state!r}, or does not run; settle what began")
        self._running.discard(position)
        self._did[position] = StepRecord(state, in_part).did
        return self._next(*self._move(position, state))

    def lose(self, position: int, *, in_part: bool = False) -> Next:
        """Give up a running step whose process is gone, or that was cancelled in its midst: it may begin again.

        in_part: see `StepRecord`.

        Raises:
            Misuse: it does not run; nothing is changed.
        """
        if position not in self._running:
            raise Misuse(f"{self._graph.ids[position]!r} does not run; only what began can be lost")
        self._running.discard(position)
        self._did[position] = StepRecord(None, in_part).did
        return self._next([position], [])

    def demand(self, why: Why) -> Next:
        """Have the run undone, whether it failed or not; also one that succeeded."""
        self.why = self.why or why
        return self._next([], [])

    def undone(self, position: int, end: UndoEnd) -> Next:
        """Record how a compensation ended for good.

        Raises:
            Misuse: it does not run; nothing is changed.
        """
        if self.undoing is None:
            raise Misuse(f"the compensation of {self._graph.ids[position]!r} does not run; the run is not undone yet")
        return Next([], self.undoing.settle(position, end), [])

    def _move(self, position: int, state: TaskState) -> tuple[list[int], list[tuple[int, TaskState]]]:
        ready, never = self._forward.settle(position, state)
        for i, ended in [(position, state), *never]:
            self._verdict.note(i, ended)
        return ready, never

    def _next(self, ready: list[int], never: list[tuple[int, TaskState]]) -> Next:
        if self.why is None and self._verdict.fails:
            self.why = "failed"
        self._open.update(ready)
        if self.why is None:
            return Next(ready, [], never)
        if self._running or self.undoing is not None:
            return Next([], [], never)
        never += self._stop()
        return Next([], self._undo(), never)

    def _stop(self) -> list[tuple[int, TaskState]]:
        """Nothing runs, nothing begins any more: say how the rest ended."""
        never: list[tuple[int, TaskState]] = []
        # What may begin and has begun before is lost.
        for i in sorted(i for i in self._open if self._did[i] != "absent"):
            never += [(i, "failed"), *self._forward.settle(i, "failed")[1]]
        for i, state in enumerate(self.states):
            if state is None:
                self.states[i] = ended = self._recorded.get(i, "cancelled")
                never.append((i, ended))
        return never

    def _undo(self) -> list[int]:
        owed = [due(one, did) for one, did in zip(self._undoable, self._did, strict=True)]
        self.undoing = Undoing(
            self._graph, owed, stop=self._policy.stop_on_failed_compensation, ended=self._ended_before
        )
        return self.undoing.start()
