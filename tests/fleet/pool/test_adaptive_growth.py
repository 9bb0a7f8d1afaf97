"""When a limit grows: after as many successes under load as it is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from coterie._rules.aimd import Aimd
from tests.fleet.pool.adaptive import FOUR, busy, limit, release

EXAMPLES = settings(max_examples=100, deadline=None)


@EXAMPLES
@given(
    st.lists(st.integers(1, 8), min_size=3, max_size=3).map(sorted),
    st.integers(1, 8),
    st.integers(0, 12),
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from("sssssssof"), st.booleans()), max_size=120),
)
def test_between_two_raises_there_are_as_many_successes_under_load_as_the_limit(
    bounds: list[int], capacity: int, waiting: int, calls: list[tuple[int, str, bool]]
):
    """Which leases end, how, and whether somebody asks for the slot."""
    world = busy(Aimd(minimum=bounds[0], start=bounds[1], maximum=bounds[2]), capacity=capacity, waiting=waiting)
    counted = 0

    for number, (which, outcome, asks) in enumerate(calls):
        if asks:
            world.ask(f"more{number}")
        out = list(world.grants.values())
        before = limit(world)
        if out:
            counted += outcome == "s" and len(out) * 2 >= before
            grant = out[which % len(out)]
            assert world._back(grant, grant.ticket, outcome, 1000) == "ok"
        if limit(world) > before:
            assert limit(world) == before + 1
            assert counted >= before
            counted = 0


def test_as_many_successes_as_the_limit_lend_one_slot_more_in_the_same_step():
    world = busy(FOUR)

    for number in range(3):
        release(world, "s")
        assert world.granted == [f"t{4 + number}"]
    assert (limit(world), len(world.leases)) == (4, 4)
    release(world, "s")

    assert world.granted == ["t7", "t8"]
    assert (limit(world), len(world.leases)) == (5, 5)


def test_a_limit_grows_more_slowly_the_higher_it_is():
    world = busy(FOUR, waiting=40)
    limits = []

    for _ in range(4 + 5 + 6):
        release(world, "s")
        limits.append(limit(world))

    assert limits == [4] * 3 + [5] * 5 + [6] * 6 + [7]


def test_a_limit_that_is_not_used_does_not_grow():
    world = busy(FOUR, waiting=1)

    for number in range(10):
        release(world, "s")
        world.ask(f"one{number}")
    assert (limit(world), world.agents["north"]["k"]) == (4, 0)
    for number in range(4):
        world.ask(f"two{number}")
        release(world, "s")

    assert limit(world) == 5


def test_what_was_counted_is_lost_with_the_limit_that_it_was_counted_for():
    world = busy(FOUR, waiting=40)

    for _ in range(3):
        release(world, "s")
    release(world, "o")
    assert (limit(world), world.agents["north"]["k"]) == (3, 0)
    for _ in range(2):
        release(world, "s")
    assert (limit(world), world.agents["north"]["k"]) == (3, 2)
    world.run(("register", "north", 2, 1, False))
    assert (limit(world), world.agents["north"]["k"]) == (2, 0)
    world.run(("register", "north", 8, 1, False))
    for _ in range(2):
        release(world, "s")

    assert limit(world) == 3


def test_what_was_counted_outlives_heartbeats_and_failures():
    world = busy(FOUR)

    for _ in range(3):
        release(world, "s")
        release(world, "f")
        release(world, "")
        world.run(("register", "north", 8, 1, False))
    assert (limit(world), world.agents["north"]["k"]) == (4, 3)
    release(world, "s")

    assert (limit(world), world.agents["north"]["k"]) == (5, 0)
