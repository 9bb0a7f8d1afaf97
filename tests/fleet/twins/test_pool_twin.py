"""The pool's rule and its Lua twin decide alike, to the last unit, on the same random histories."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie._rules.aimd import Aimd
from coterie._rules.balance import STRATEGIES, Strategy
from coterie._rules.pool import turn
from tests.fleet.pool.histories import ADAPTIVE, EPOCH, HISTORIES, SECOND, Step, World, terms
from tests.fleet.twins.harness import ScriptRunner, assert_twins

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@EXAMPLES
@given(
    st.sampled_from(STRATEGIES),
    st.none() | ADAPTIVE,
    HISTORIES,
    st.lists(st.integers(-90 * SECOND, 2 * SECOND), max_size=5),
)
def test_the_twin_is_the_rule(
    runner: ScriptRunner, strategy: Strategy, adaptive: Aimd | None, history: list[Step], leaps: list[int]
):
    world = World(terms(strategy, adaptive=adaptive))
    for agent, capacity in (("north", 1), ("south", 2)):
        world.run(("register", agent, capacity, capacity, False))
    for step in history:
        world.run(step)
    turns = [
        (operation, now + (leaps[number % len(leaps)] if leaps and number > 3 else 0))
        for number, (operation, now) in enumerate(world.done)
        if operation.name == "pool.turn"
    ]

    assert_twins(runner, turns)


def test_a_crowded_turn_is_decided_alike(runner: ScriptRunner):
    policy = terms("power_of_two_choices", queue_limit=50)
    asks = [[f"t{n}", f"h{n}", n % 3, 1, 1, "", ["a1"] if n % 4 == 0 else []] for n in range(40)]
    agents = [[f"a{n}", 3, n + 1] for n in range(5)]
    first = turn(policy, "p1", chance=123_456, agents=agents, asks=asks)
    second = turn(policy, "p2", chance=654_321, agents=agents[:1], leaving=True, asks=asks[::-1])

    steps = assert_twins(runner, [(first, EPOCH), (second, EPOCH + SECOND), (first, EPOCH + 40 * SECOND)])

    assert len(steps[0].state["leases"]) == 15
    assert len(steps[0].state["tickets"]) == 25


@pytest.mark.parametrize("cases", [range(6), pytest.param(range(6, 60), marks=pytest.mark.full)])
def test_limits_move_alike_under_load_and_while_the_policy_changes(runner: ScriptRunner, cases: range):
    rises, falls = 0, 0
    for case in cases:
        print(f"case {case}")  # noqa: T201
        world = World(terms())
        moves = _move_limits(world, random.Random(case))
        rises, falls = rises + sum(move > 0 for move in moves), falls + sum(move < 0 for move in moves)

        assert_twins(runner, world.done)

    print(f"{rises} rises, {falls} falls")  # noqa: T201
    assert min(rises, falls) >= 4 * len(cases), "hardly a limit has moved: this says nothing"


def _move_limits(world: World, chance: random.Random) -> list[int]:
    """A history in which limits matter; by how much they moved, agents that came or went left out."""
    # Bounds on both sides of the capacities, back-offs that do not come out even.
    policies = [None, *(_any_policy(chance) for _ in range(4))]
    limits: list[dict[str, int]] = []
    for number in range(400):
        kind = chance.choices(["ask", "release", "register", "policy", "leave"], [8, 8, 1, 0.3, 0.1])[0]
        agent = chance.choice(["north", "south"])
        if kind == "policy" or number == 0:
            policy = chance.choice(policies) if number else policies[1]
            world.terms = terms("power_of_two_choices", queue_limit=60, healthy_share=0.0, adaptive=policy)
        if kind == "ask":
            world.ask(f"t{number}", waits=chance.random() < 0.9)
        elif kind == "release" and number % 50 > 10:
            world.run(("release", chance.randrange(99), chance.choices("sof", [16, 1, 1])[0], 1000))
        elif kind == "leave":
            # Forgotten, with all that was found out about it.
            world.run(("register", agent, 1, 1, True))
            world.now += 16 * SECOND
        elif kind == "register" or number == 0:
            world.run(("register", agent, chance.choice([1, 5, 30]), 1, False))
        world.now += chance.choice([1000, 100_000])
        limits.append({name: one["m"] for name, one in world.agents.items() if "m" in one})
    return [
        after[name] - before[name]
        for before, after in pairwise(limits)
        for name in before.keys() & after.keys()
        if after[name] != before[name]
    ]


def _any_policy(chance: random.Random) -> Aimd:
    least, start = chance.randint(1, 4), chance.randint(4, 12)
    most = chance.choice([start, chance.randint(12, 40)])
    return Aimd(minimum=least, start=start, maximum=most, backoff=chance.uniform(0.5, 0.99))
