"""Where a limit settles: agents that turn calls away, or let them time out, simulated second by second."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

from coterie._rules.aimd import Aimd
from tests.fleet.pool.adaptive import limit
from tests.fleet.pool.histories import World, terms

Late: TypeAlias = Callable[[int, int, dict[int, tuple[int, str]]], tuple[int, str]]
BEARS = 10


def hangs(now: int, token: int, ends: dict[int, tuple[int, str]]) -> tuple[int, str]:
    """When and how a call ends whose agent answers `BEARS` at once after 10, and further ones never: 30 are allowed."""
    served = sum(outcome == "s" for _, outcome in ends.values())
    return (now + 8 + token % 5, "s") if served < BEARS else (now + 30, "o")


def shares(now: int, token: int, ends: dict[int, tuple[int, str]]) -> tuple[int, str]:
    """The same of an agent that is slower the more it has in hand, where 20 are allowed."""
    takes = max(BEARS, len(ends) + 1) * (8 + token % 5) // BEARS
    return (now + takes, "s") if takes < 20 else (now + 20, "o")


@pytest.mark.parametrize("bears", [1, 3, 10])
@pytest.mark.parametrize("start", [1, 30])
def test_it_settles_at_what_an_agent_bears_that_turns_others_away(bears: int, start: int):
    world = World(terms(queue_limit=1000, adaptive=Aimd(start=start)))
    world.run(("register", "north", 40, 1, False))
    asked, served, seen = 0, dict[int, int](), []

    for now in range(120):
        while len(world.tickets) < 20:
            asked += 1
            world.ask(f"t{asked}")
        for token in [token for token, ends in served.items() if ends == now]:
            del served[token]
            world._back(world.grants[token], world.grants[token].ticket, "s", 1000)
        for token in [token for token in world.grants if token not in served]:
            if len(served) < bears:
                served[token] = now + 3 + token % 3
            else:
                world._back(world.grants[token], world.grants[token].ticket, "o", 1)
        seen.append(limit(world))

    print(seen)  # noqa: T201
    assert all(bears * 0.8 <= value <= bears + 1 for value in seen[60:])


@pytest.mark.parametrize("start", [1, 10, 100])
@pytest.mark.parametrize("late", [hangs, shares])
def test_it_settles_near_what_an_agent_bears_that_takes_all_calls_and_lets_them_time_out(late: Late, start: int):
    world = World(terms(queue_limit=1000, adaptive=Aimd(start=start)))
    world.run(("register", "north", 200, 1, False))
    asked, ends, seen = 0, dict[int, tuple[int, str]](), []

    for now in range(1500):
        while len(world.tickets) < 20:
            asked += 1
            world.ask(f"t{asked}")
        for token, (_, outcome) in [(token, end) for token, end in ends.items() if end[0] <= now]:
            del ends[token]
            world._back(world.grants[token], world.grants[token].ticket, outcome, 1000)
        for token in [token for token in world.grants if token not in ends]:
            ends[token] = late(now, token, ends)
        seen.append(limit(world))

    print(seen)  # noqa: T201
    assert all(BEARS <= value <= 2 * BEARS for value in seen[1000:])
