"""What makes a list of states a machine: known targets, no state in vain, no trap, no loop without a bound.

O(states + transitions), and iterative.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from coterie._json import JsonValue
from coterie._rules.foreach import condition_holds
from coterie._rules.plan import find_cycle
from coterie.errors import MachineError, UnknownState
from coterie.state import State
from coterie.task import When

__all__ = ["MOST_STEPS", "Table", "Way", "build_table"]

MOST_STEPS = 1_000_000
_SHOWN = 10


class Way(NamedTuple):
    """A transition as it is tried: all conditions must hold."""

    conditions: tuple[When, ...]
    to: str

    def is_open(self, asked: JsonValue) -> bool:
        """Whether it may be taken, given what came with the trigger."""
        return all(condition_holds(condition, asked) for condition in self.conditions)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A machine as it runs: every transition, by state and trigger, in the order in which they are tried."""

    name: str
    initial: str
    states: Mapping[str, State]
    ways: Mapping[tuple[str, str], tuple[Way, ...]]
    max_steps: int | None

    def choose(self, state: str, trigger: str, asked: JsonValue) -> Way | None:
        """The transition that a trigger takes; None if there is none whose guards hold."""
        return next((way for way in self.ways.get((state, trigger), ()) if way.is_open(asked)), None)


def build_table(name: str, states: Sequence[State], initial: str, max_steps: int | None) -> Table:
    """Validate the states of a machine.

    Raises:
        MachineError: names the culprit, and a loop as a path.
    """
    known: dict[str, State] = {}
    for state in states:
        if state.name in known:
            raise MachineError(f"two states of the machine {name!r} are called {state.name!r}; rename one")
        known[state.name] = state
    if not known:
        raise MachineError(f"the machine {name!r} has no states; give it at least one that is final")
    if initial not in known:
        raise UnknownState(f"the machine {name!r} begins in", initial, known)
    for state in states:
        for go in state.transitions:
            if go.to not in known:
                raise UnknownState(f"the state {state.name!r} goes on {go.trigger!r} to", go.to, known)
    _check_paths(name, known, initial)
    _check_loops(name, known, max_steps)
    ways = {
        (state.name, trigger): tuple(
            Way(tuple(guard.condition for guard in go.when), go.to) for go in state.ways(trigger)
        )
        for state in states
        for trigger in dict.fromkeys(go.trigger for go in state.transitions)
    }
    return Table(name, initial, known, ways, max_steps)


def _check_paths(name: str, states: Mapping[str, State], initial: str) -> None:
    targets = {state.name: [go.to for go in state.transitions] for state in states.values()}
    unreachable = set(states) - _reached([initial], targets)
    if unreachable:
        raise MachineError(
            f"no transition of the machine {name!r} leads from {initial!r} to {_listed(unreachable, states)}; "
            "add one, or remove what is never reached"
        )
    sources: dict[str, list[str]] = {state: [] for state in states}
    for source, ends in targets.items():
        for to in ends:
            sources[to].append(source)
    trapped = set(states) - _reached([state.name for state in states.values() if state.final], sources)
    if trapped:
        raise MachineError(
            f"there is no way out of {_listed(trapped, states)}: no transitions lead from there to a final state of "
            f"the machine {name!r}; add one"
        )
    for state in states.values():
        leaves = state.ways("succeeded") or state.ways("timeout") or state.events
        if state.action is not None and not leaves:
            raise MachineError(
                f"there is no way out of the state {state.name!r} once its action has succeeded; "
                "add a transition on 'succeeded', on an event or on 'timeout'"
            )


def _check_loops(name: str, states: Mapping[str, State], max_steps: int | None) -> None:
    """Whatever happens, a machine ends, or waits for an event or a time-out."""
    if max_steps is not None and (type(max_steps) is not int or not 1 <= max_steps <= MOST_STEPS):
        raise MachineError(
            f"max_steps of the machine {name!r} is {max_steps!r}; give a whole number from 1 to {MOST_STEPS}"
        )
    instead = {state.name: state.ways("exhausted")[0].to for state in states.values() if state.ways("exhausted")}
    around = _cycle({state: [instead[state]] if state in instead else [] for state in states})
    if around:
        raise MachineError(
            f"the states {' -> '.join(map(repr, around))} are entered instead of each other on 'exhausted', without "
            "end; let one of them go elsewhere"
        )
    if max_steps is not None:
        return
    # A state with a bound is entered so often, and from then on what it leads to instead.
    passed: dict[tuple[str, str], list[str]] = {}
    endless: dict[str, list[str]] = {state: [] for state in states}
    for state in states.values():
        for go in state.transitions:
            through = list(_passed(go.to, states, instead))
            if states[through[-1]].max_visits is None:
                endless[state.name].append(through[-1])
                passed[state.name, through[-1]] = through
    around = _cycle(endless)
    if around:
        shown = [around[0], *(step for pair in pairwise(around) for step in passed[pair])]
        raise MachineError(
            f"the machine {name!r} may go round {' -> '.join(map(repr, shown))} without end; give one of these states "
            "a max_visits that does not lead back on 'exhausted', or the machine a max_steps"
        )


def _passed(state: str, states: Mapping[str, State], instead: Mapping[str, str]) -> Iterator[str]:
    """The states that are tried one after another once all with a bound have reached it."""
    yield state
    while states[state].max_visits is not None and state in instead:
        state = instead[state]
        yield state


def _cycle(targets: Mapping[str, Sequence[str]]) -> list[str]:
    """The names along one cycle, first and last the same; empty if there is none."""
    names = list(targets)
    position = {name: i for i, name in enumerate(names)}
    return [names[i] for i in find_cycle([[position[to] for to in ends] for ends in targets.values()])]


def _reached(begin: Iterable[str], edges: Mapping[str, Sequence[str]]) -> set[str]:
    seen = set(begin)
    pending = list(seen)
    while pending:
        fresh = set(edges[pending.pop()]) - seen
        seen |= fresh
        pending += fresh
    return seen


def _listed(names: Iterable[str], order: Mapping[str, State]) -> str:
    """Names in the order of the machine."""
    found = set(names)
    every = [repr(name) for name in order if name in found]
    return ", ".join(every[:_SHOWN]) + (f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")
