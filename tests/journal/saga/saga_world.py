"""Every course that a run of one small plan can take, its crashes included, next to a slow reading of what it must do.

A state of the model is what is recorded, which steps run, and what may start. A step of it begins a step of the plan,
ends one, loses one (its worker dies), ends a compensation, or is a crash: all that is not recorded is gone, and a new
process goes on from the records. A crash in the midst of a compensation, before its effect or between its effect and
its record, is a crash before the record: the rule cannot tell them apart, and runs the compensation again, under the
same key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from coterie._rules.plan import Graph
from coterie._rules.progress import Progress
from coterie._rules.saga import Next, SagaProgress, StepRecord
from coterie._rules.saga_policy import SagaPolicy, Verdict
from coterie._rules.undo import Undoing
from coterie.ids import TaskState
from coterie.task import Undoable
from tests.journal.saga.graphs import later

# What is recorded of a step: nothing, that it began, that it succeeded, that it failed.
NOTHING, BEGUN, SUCCEEDED, FAILED = "-", "b", "s", "f"
STATES: dict[str, TaskState | None] = {BEGUN: None, SUCCEEDED: "succeeded", FAILED: "failed"}
_COPIED, _CLONED = {list, set, dict}, {Progress, Undoing, Verdict}


class Course(NamedTuple):
    """One step of the model."""

    event: str
    position: int


class State(NamedTuple):
    """steps, undone: what is recorded. running: steps that began and whose process lives.

    open, undoing: the steps, and the compensations, that the rule has said may start, and that have not ended.
    """

    steps: str
    undone: str
    running: frozenset[int]
    open: frozenset[int]
    undoing: frozenset[int]


class Expected(NamedTuple):
    """What must hold, by a slow reading of the rules as they are documented."""

    open: frozenset[int]
    undoing: frozenset[int]
    outcome: str | None
    states: tuple[TaskState | None, ...]
    due: tuple[str, ...] | None


class Reading:
    """The rules, read slowly: what follows from the records, and from nothing else."""

    def __init__(self, graph: Graph, undoable: Sequence[Undoable | None], policy: SagaPolicy) -> None:
        self.graph, self.undoable, self.policy = graph, undoable, policy
        self.later = [{j for j in range(len(graph.ids)) if bits >> j & 1} for bits in later(graph)]
        self._known: dict[tuple[str, str, frozenset[int]], Expected] = {}

    def expected(self, state: State) -> Expected:
        key = state[:3]
        if key not in self._known:
            self._known[key] = self._read(state)
        return self._known[key]

    def _read(self, state: State) -> Expected:
        steps = state.steps
        failing = FAILED in steps or state.undone.strip(NOTHING) != ""
        states = self._states(steps, over=failing and not state.running)
        if not failing:
            may = {
                i
                for i, before in enumerate(self.graph.upstream)
                if steps[i] in (NOTHING, BEGUN)
                and i not in state.running
                and all(steps[j] == SUCCEEDED for j in before)
            }
            outcome = "succeeded" if set(steps) == {SUCCEEDED} else None
            return Expected(frozenset(may), frozenset(), outcome, states, None)
        if state.running:
            return Expected(frozenset(), frozenset(), None, states, None)
        owed = tuple(self._due(i, steps[i]) for i in range(len(steps)))
        undoing = frozenset(i for i in range(len(steps)) if self._may_undo(i, owed, state.undone))
        return Expected(frozenset(), undoing, self._outcome(owed, state.undone, undoing), states, owed)

    def _due(self, i: int, step: str) -> str:
        when = self.undoable[i]
        if when is None or step == NOTHING:
            return "nothing"
        if step == SUCCEEDED or when == "started":
            return "undo"
        return "unclear" if step == BEGUN else "nothing"

    def _may_undo(self, i: int, owed: tuple[str, ...], undone: str) -> bool:
        """Nothing that comes after it is left to undo, and (if so it is to be) nothing there went wrong."""
        if owed[i] != "undo" or undone[i] != NOTHING:
            return False
        return not any(self._bars(j, owed, undone) for j in self.later[i])

    def _bars(self, j: int, owed: tuple[str, ...], undone: str) -> bool:
        if self.policy.stop_on_failed_compensation:
            return owed[j] == "unclear" or (owed[j] == "undo" and undone[j] != "d")
        return owed[j] == "undo" and undone[j] == NOTHING

    def _outcome(self, owed: tuple[str, ...], undone: str, undoing: frozenset[int]) -> str | None:
        if undoing:
            return None
        perfect = all(owed[i] == "nothing" or undone[i] == "d" for i in range(len(owed)))
        return "compensated" if perfect else "compensation_failed"

    def _states(self, steps: str, *, over: bool) -> tuple[TaskState | None, ...]:
        states: list[TaskState | None] = []
        for i, before in enumerate(self.graph.upstream):
            ended = STATES[steps[i]] if steps[i] != NOTHING else None
            if ended is None and over and steps[i] == BEGUN:
                ended = "failed"
            if ended is None and any(states[j] in ("failed", "upstream_failed") for j in before):
                ended = "upstream_failed"
            states.append(ended or ("cancelled" if over else None))
        return tuple(states)


class Model:
    """One plan, and every state that a run of it can come to.

    eager: whatever may begin has begun, so that only the order of the ends is open. ends: how compensations may end.
    """

    def __init__(
        self,
        graph: Graph,
        undoable: Sequence[Undoable | None],
        policy: SagaPolicy = SagaPolicy(),  # noqa: B008  frozen
        *,
        eager: bool = False,
        ends: str = "df",
    ) -> None:
        self.graph, self.undoable, self.policy, self.eager, self.ends = graph, undoable, policy, eager, ends
        self.size = len(graph.ids)
        self.reading = Reading(graph, undoable, policy)
        self.seen: set[State] = set()
        self._from_records: dict[tuple[str, str], tuple[State, SagaProgress]] = {}
        self.steps = 0
        self.dues: set[tuple[str, ...]] = set()
        self.outcomes: set[str] = set()

    def explore(self) -> Self:
        """Visit every state, and check it, each step, and what a crash there comes to."""
        first = self._hurried(*self._resumed(NOTHING * self.size, NOTHING * self.size))
        self.check(*first)
        pending = [first]
        self.seen.add(first[0])
        while pending:
            state, live = pending.pop()
            for course, after in self.successors(state, live):
                self.steps += 1
                try:
                    self.check(*after)
                except AssertionError as wrong:
                    raise AssertionError(f"{course} breaks {state} of {self.graph.upstream}: {wrong}") from wrong
                if after[0] not in self.seen:
                    self.seen.add(after[0])
                    pending.append(after)
        return self

    def successors(self, state: State, live: SagaProgress) -> Iterator[tuple[Course, tuple[State, SagaProgress]]]:
        ended = True
        for i in sorted(state.open):
            yield Course("begin", i), self._begun(state, clone(live), i)
            ended = False
        for i in sorted(state.running):
            for letter in (SUCCEEDED, FAILED):
                told = clone(live)
                yield Course(letter, i), self._after(state, told, told.settle(i, STATES[letter] or "failed"), i, letter)
            if not self.eager:
                told = clone(live)
                yield Course("lose", i), self._after(state, told, told.lose(i), i, BEGUN)
            ended = False
        for i in sorted(state.undoing):
            for letter in self.ends:
                told = clone(live)
                after = told.undone(i, "done" if letter == "d" else "failed")
                yield Course(f"compensation {letter}", i), self._after(state, told, after, i, letter)
            ended = False
        assert ended == (live.outcome is not None), f"nothing can happen, or something after the end: {live.outcome}"
        crashed, resumed = self._resumed(state.steps, state.undone)
        lost = clone(live)
        again = {step for i in sorted(state.running) for step in lost.lose(i).steps}
        assert view(lost) == view(resumed), "a crash is not the loss of all that ran"
        assert crashed.open == state.open | again
        yield Course("crash", 0), self._hurried(crashed, resumed)

    def check(self, state: State, live: SagaProgress) -> None:
        """What was told of so far, and what the rule says now, is what the reading says."""
        expected = self.reading.expected(state)
        assert state.open == expected.open, f"may begin: {set(state.open)}, expected {set(expected.open)}"
        assert state.undoing == expected.undoing, f"undoes {set(state.undoing)}, expected {set(expected.undoing)}"
        assert live.outcome == expected.outcome
        assert tuple(live.states) == expected.states
        assert (live.undoing is None) == (expected.due is None)
        if expected.due is not None:
            assert live.undoing is not None
            assert tuple(live.undoing.due) == expected.due
            self.dues.add(expected.due)
        if live.outcome is not None:
            self.outcomes.add(live.outcome)
            assert live.status == ("succeeded" if live.outcome == "succeeded" else "failed")

    def _resumed(self, steps: str, undone: str) -> tuple[State, SagaProgress]:
        if (steps, undone) not in self._from_records:
            self._from_records[steps, undone] = self._resume(steps, undone)
        return self._from_records[steps, undone]

    def _resume(self, steps: str, undone: str) -> tuple[State, SagaProgress]:
        live = self.progress()
        records = {i: StepRecord(STATES[letter]) for i, letter in enumerate(steps) if letter != NOTHING}
        ended: dict[int, Any] = {i: {"d": "done", "f": "failed"}[c] for i, c in enumerate(undone) if c != NOTHING}
        following = live.resume(records, ended)
        return State(steps, undone, frozenset(), frozenset(following.steps), frozenset(following.compensations)), live

    def progress(self) -> SagaProgress:
        leaves = [i for i, after in enumerate(self.graph.dependents) if not after]
        return SagaProgress(self.graph, ["all_success"] * self.size, self.undoable, leaves, self.policy)

    def _begun(self, state: State, live: SagaProgress, i: int) -> tuple[State, SagaProgress]:
        assert live.begin(i)
        steps = replaced(state.steps, i, BEGUN)
        return state._replace(steps=steps, running=state.running | {i}, open=state.open - {i}), live

    def _after(
        self, state: State, live: SagaProgress, following: Next, i: int, letter: str
    ) -> tuple[State, SagaProgress]:
        undoes = i in state.undoing
        # Once the run fails, what could have begun no longer may.
        still = state.open if live.why is None else frozenset()
        after = State(
            state.steps if undoes else replaced(state.steps, i, letter),
            replaced(state.undone, i, letter) if undoes else state.undone,
            state.running - {i},
            still | frozenset(following.steps),
            state.undoing - {i} | frozenset(following.compensations),
        )
        return self._hurried(after, live)

    def _hurried(self, state: State, live: SagaProgress) -> tuple[State, SagaProgress]:
        if self.eager and state.open:
            live = clone(live)
            for i in sorted(state.open):
                state, live = self._begun(state, live, i)
        return state, live


def replaced(text: str, position: int, letter: str) -> str:
    return text[:position] + letter + text[position + 1 :]


def clone(value: Any) -> Any:
    """A copy of a rule's object that goes its own way; graphs and policies are shared."""
    copy = object.__new__(type(value))
    for name in type(value).__slots__:
        part = getattr(value, name)
        kind = type(part)
        if kind in _COPIED:
            part = part.copy()
        elif kind in _CLONED:
            part = clone(part)
        setattr(copy, name, part)
    return copy


def view(live: SagaProgress) -> Any:
    """All that can matter later."""
    undoing = live.undoing and (live.undoing.due, live.undoing.states, live.undoing.unsettled, live.undoing.left)
    return live.why, live.outcome, live.status, live.states, undoing
