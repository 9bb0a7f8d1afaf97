"""Every interleaving of two processes that run one machine, of people who send events twice, and of time.

A state of the model is the machine's texts, the clock, and which visit's action each process performs, if any: also the
same one twice, as when a process that was taken for dead comes back. A step is one second that passes; a process that
looks what is to be done, ends what it does, or is killed in it; an event that is sent, perhaps again; somebody who
cancels. States are compared by what can matter later. So the model is finite, and searched to its end.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Self

import pytest

from coterie._rules.machine_texts import HEAD, Answer
from coterie._rules.timeline import SECOND, Moment, moment
from coterie.machine import StateMachine
from coterie.state import Action, Go, Guard, State
from tests.journal.machine.worlds import World, begun, check_history

REVIEW = StateMachine(
    "review",
    [
        State(
            "draft",
            action=Action("writer"),
            timeout_s=2,
            max_visits=2,
            transitions=[
                Go("review", when=[Guard("/n", "ge", 1)]),
                Go("draft"),
                Go("lost", "failed"),
                Go("nag", "timeout"),
                Go("lost", "exhausted"),
            ],
        ),
        State("review", timeout_s=2, transitions=[Go("out", "approve"), Go("draft", "reject"), Go("nag", "timeout")]),
        # Stays where its action has succeeded; a failure is caught by nobody.
        State("nag", action=Action("mailer"), max_visits=1, transitions=[Go("review", "resume")]),
        State("out", final="succeeded"),
        State("lost", final="failed"),
    ],
    initial="draft",
)
# A loop that nothing but the number of steps ends.
ROUND = StateMachine(
    "round",
    [
        State("a", action=Action("x"), timeout_s=1, transitions=[Go("b"), Go("a", "timeout"), Go("out", "approve")]),
        State("b", transitions=[Go("a", "reject", when=[Guard("", "eq", 1)])]),
        State("out", final="succeeded"),
    ],
    initial="a",
    max_steps=4,
)
# Each event by its id: one that is sent again has the same. The payload opens guards, or does not.
SENDINGS = {"a1": ("approve", 1), "a2": ("approve", 0), "r1": ("reject", 1), "r2": ("reject", 0), "s1": ("resume", 1)}
ENDS = {
    "good": ("succeeded", {"n": 1}),
    "poor": ("succeeded", {"n": 0}),
    "bad": ("failed", {"type": "X", "message": "!"}),
}


# Seconds that the clock may be behind at most: more would bring nothing new.
BEHIND_MOST = 4


class Move(NamedTuple):
    """One step. kind: tick, look, do, die, cancel, the id of an event, or how an action ends."""

    kind: str
    process: int = 0


class Model(NamedTuple):
    """One state, by one of its concrete forms."""

    world: World
    held: tuple[int | None, ...]


class Search:
    """What was visited, and from where each state was reached."""

    def __init__(self, machine: StateMachine, *, processes: int, ticks: tuple[int, ...] = (1,)) -> None:
        self.ticks = ticks
        self.start = Model(begun(machine), (None,) * processes)
        self.seen: dict[Any, Model] = {abstract(self.start): self.start}
        self.reached_from: dict[Any, set[Any]] = {}
        self.steps = 0

    def explore(self) -> Self:
        """Visit every state, breadth first, and check it and each step."""
        pending = deque([self.start])
        while pending:
            model = pending.popleft()
            origin = abstract(model)
            for move, after in successors(model, self.ticks):
                self.steps += 1
                found = abstract(after)
                self.reached_from.setdefault(found, set()).add(origin)
                if found not in self.seen:
                    try:
                        check_history(after.world)
                    except AssertionError as wrong:
                        raise AssertionError(f"{move} breaks {model}: {wrong}") from wrong
                    self.seen[found] = after
                    pending.append(after)
        return self

    def endless(self) -> set[Any]:
        """The states from which no way leads to the end."""
        ending = {found for found, model in self.seen.items() if model.world.head.phase == "over"}
        pending = list(ending)
        while pending:
            fresh = self.reached_from.get(pending.pop(), set()) - ending
            ending |= fresh
            pending += fresh
        return set(self.seen) - ending


def successors(model: Model, ticks: tuple[int, ...]) -> Iterator[tuple[Move, Model]]:
    world, head = model.world, model.world.head
    for tick in ticks:
        if tick > 0 or behind_s(world) < BEHIND_MOST:
            later = copy(world)
            later.wait(tick)
            yield Move("tick"), Model(later, model.held)
    for name in ("look", "cancel", *SENDINGS):
        after = copy(world)
        check_answer(model, Move(name), after, asked(after, name))
        yield Move(name), Model(after, model.held)
    for process, holding in enumerate(model.held):
        if holding is None:
            if head.phase == "acting":
                yield Move("do", process), Model(world, let(model, process, head.visit))
            continue
        yield Move("die", process), Model(world, let(model, process, None))
        for name, (how, value) in ENDS.items():
            after = copy(world)
            check_answer(model, Move(name, process), after, after.end(how, value, visit=holding))
            yield Move(name, process), Model(after, let(model, process, None))


def asked(world: World, name: str) -> Answer:
    if name in SENDINGS:
        event, payload = SENDINGS[name]
        return world.send(event, payload, event_id=name, who="ann")
    return world.look() if name == "look" else world.cancel("ann")


def check_answer(model: Model, move: Move, after: World, answer: Answer) -> None:
    """What holds in every step that asks something of the machine."""
    before, machine = model.world.head, model.world.machine
    taken = {visit.event_id: visit.number for visit in model.world.history() if visit.event_id}
    due = before.due is not None and moment({**before.time.stamp()}, after.now).at >= before.due
    changed = essence(after) != essence(model.world)
    if move.kind in taken:
        assert answer.verdict == "repeated"
        assert answer.receipt is not None
        assert answer.receipt.visit == taken[move.kind]
        assert not changed
    elif move.kind in SENDINGS:
        assert answer.verdict in {"moved", "illegal"}
        # An illegal one changes nothing, but what time had changed already.
        assert changed == (answer.verdict == "moved" or due)
    elif move.kind in ENDS:
        counts = model.held[move.process] == before.visit and before.phase == "acting" and not due
        # A late one changes nothing; of another visit it does not even look at the clock.
        assert (answer.verdict != "late") == counts
        assert changed == (counts or (due and model.held[move.process] == before.visit))
    elif move.kind == "look":
        assert changed == due == (answer.verdict == "moved")
    else:
        assert after.head.phase == "over"
        assert changed == (before.phase != "over")
    for visit in after.history()[before.visit - 1 :]:
        assert visit.trigger in {"cancelled", "failed", *(go.trigger for go in machine.state(visit.state).transitions)}


def abstract(model: Model) -> Any:
    """What can matter later: equal for states with the same future."""
    head = model.world.head
    left = None if head.due is None else max(0, head.due - moment({**head.time.stamp()}, model.world.now).at)
    ids = tuple(sorted((visit.event_id, visit.number) for visit in model.world.history() if visit.event_id))
    return (
        head.state,
        head.visit,
        head.phase,
        left,
        tuple(sorted(head.visits.items())),
        head.status,
        ids,
        behind_s(model.world),
        tuple(None if holding is None else holding == head.visit for holding in model.held),
    )


def behind_s(world: World) -> int:
    """How many seconds the clock is behind what was last stored."""
    time = world.head.time
    return max(0, time.t0_s + -(-(time.at - world.now) // SECOND))


def essence(world: World) -> dict[str, str]:
    """What lies there, but for the time of the machine itself: where a clock was set back, that is written at once."""
    return {**world.texts, HEAD: replace(world.head, time=Moment(0, 0)).text()}


def copy(world: World) -> World:
    return World(world.machine, dict(world.texts), world.now)


def let(model: Model, process: int, holding: int | None) -> tuple[int | None, ...]:
    return tuple(holding if other == process else kept for other, kept in enumerate(model.held))


def searched(search: Search, what: str) -> None:
    # Seen with -s.
    sys.stdout.write(f"\n{what}: {len(search.seen)} states, {search.steps} steps\n")


@pytest.mark.parametrize("machine", [REVIEW, ROUND], ids=lambda machine: machine.name)
@pytest.mark.parametrize(
    ("processes", "ticks"),
    [
        (2, (1,)),
        pytest.param(3, (1,), marks=pytest.mark.full),
        pytest.param(2, (1, -2), marks=pytest.mark.full),
    ],
    ids=["two processes", "three processes", "a clock that goes back"],
)
def test_no_interleaving_breaks_or_wedges_a_machine(machine: StateMachine, processes: int, ticks: tuple[int, ...]):
    search = Search(machine, processes=processes, ticks=ticks).explore()

    searched(search, f"{machine.name}, {processes} processes, ticks {ticks}")
    assert {model.world.head.status for model in search.seen.values()} == {None, "succeeded", "failed", "cancelled"}
    assert {model.world.head.state for model in search.seen.values()} == {state.name for state in machine.states}
    assert not search.endless()
