"""The pool's rule and its Lua twin decide alike, to the last unit, on the same random histories."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie._rules.balance import STRATEGIES, Strategy
from coterie._rules.pool import turn
from tests.fleet.pool.histories import EPOCH, HISTORIES, SECOND, Step, World, terms
from tests.fleet.twins.harness import ScriptRunner, assert_twins

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@EXAMPLES
@given(st.sampled_from(STRATEGIES), HISTORIES, st.lists(st.integers(-90 * SECOND, 2 * SECOND), max_size=5))
def test_the_twin_is_the_rule(runner: ScriptRunner, strategy: Strategy, history: list[Step], leaps: list[int]):
    world = World(terms(strategy))
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
