"""Every order in which the compensations of one small graph can end, next to a slow reading of what may start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from coterie._rules.plan import Graph
from coterie._rules.saga_policy import Due
from coterie._rules.undo import UndoEnd, Undoing, UndoState
from tests.journal.saga.graphs import later

BAD = frozenset({"failed", "unclear"})


def search_undoing(graph: Graph, due: Sequence[Due], *, stop: bool, ends: Sequence[UndoEnd]) -> int:
    """Let the compensations end in every order, and check each state; how many there were.

    In each, a process that goes on from what has ended is where one that saw it all is.
    """
    after = later(graph)
    seen: set[tuple[tuple[int, UndoEnd], ...]] = {()}
    pending: list[dict[int, UndoEnd]] = [{}]
    while pending:
        ended = pending.pop()
        undoing = Undoing(graph, due, stop=stop, ended=ended)
        ready = undoing.start()
        assert undoing.states == expected(after, due, ended, stop=stop), (graph.upstream, due, ended, undoing.states)
        assert sorted(ready) == [i for i, state in enumerate(undoing.states) if state == "running"]
        assert bool(undoing.unsettled) == bool(ready), "it ends when nothing runs, and not before"
        for i, end in product(ready, ends):
            live = Undoing(graph, due, stop=stop, ended=ended)
            live.start()
            started = live.settle(i, end)
            following = {**ended, i: end}
            assert live.states == expected(after, due, following, stop=stop)
            assert not set(started) & set(ready)
            key = tuple(sorted(following.items()))
            if key not in seen:
                seen.add(key)
                pending.append(following)
    return len(seen)


def expected(
    after: Sequence[int], due: Sequence[Due], ended: Mapping[int, UndoEnd], *, stop: bool
) -> list[UndoState | None]:
    """The rules, read slowly: `after` is, for each step, the set (as bits) of all that depend on it."""
    size = len(due)
    states: list[UndoState | None] = [None] * size
    # From the end: steps are numbered along their dependencies.
    for i in reversed(range(size)):
        behind = [states[j] for j in range(size) if after[i] >> j & 1]
        if due[i] == "nothing":
            continue
        if "waiting" in behind or "running" in behind:
            states[i] = "waiting" if due[i] == "undo" else None
        elif due[i] == "unclear":
            states[i] = "unclear"
        elif i in ended:
            states[i] = ended[i]
        else:
            states[i] = "blocked" if stop and not BAD.isdisjoint(behind) else "running"
    return states
