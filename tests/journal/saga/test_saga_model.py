"""No plan of up to six steps, no failure and no crash of its run leaves a step undone too early, twice or not at all.

Searched to the end: one graph of each shape. The names of the steps do not matter to the rule; the last test says so.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from itertools import islice, permutations, product

import pytest

from coterie._rules.plan import Graph
from coterie._rules.saga_policy import Due, SagaPolicy
from coterie._rules.undo import Undoing
from coterie.task import Undoable
from tests.journal.saga.graphs import SHAPES, relabelled, shapes
from tests.journal.saga.saga_world import Model
from tests.journal.saga.undo_world import search_undoing

KINDS: tuple[Undoable | None, ...] = (None, "succeeded", "started")
DUES: tuple[Due, ...] = ("undo", "unclear", "nothing")
EITHER = (SagaPolicy(), SagaPolicy(stop_on_failed_compensation=True))
SEED = 20_261_127


def told(what: str) -> None:
    # Seen with -s.
    sys.stdout.write(f"\n{what}\n")


def searched(models: Iterable[Model], what: str) -> None:
    states = steps = count = 0
    dues, outcomes = set(), set()
    for model in models:
        model.explore()
        states, steps, count = states + len(model.seen), steps + model.steps, count + 1
        dues |= model.dues
        outcomes |= model.outcomes
    told(f"{what}: {count} plans, {states} states, {steps} steps, {len(dues)} ways in which steps were due")
    assert outcomes == {"succeeded", "compensated", "compensation_failed"}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_the_graphs_are_all_that_there_are(size: int):
    assert len(shapes(size)) == SHAPES[size - 1]


def test_no_course_of_up_to_three_steps_with_any_compensations_goes_wrong():
    plans = ((graph, kinds) for size in (1, 2, 3) for graph in shapes(size) for kinds in product(KINDS, repeat=size))

    searched((Model(graph, kinds, policy) for graph, kinds in plans for policy in EITHER), "up to 3 steps")


def test_no_course_of_four_steps_goes_wrong():
    chance = random.Random(SEED)
    every = list(product(KINDS, repeat=4))

    searched(
        (
            Model(graph, kinds, chance.choice(EITHER), eager=number > 0)
            for graph in shapes(4)
            for number, kinds in enumerate(chance.sample(every, 12))
        ),
        f"4 steps, each shape with 12 choices of compensations, seed {SEED}",
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_no_order_in_which_compensations_end_goes_wrong(size: int):
    states = sum(
        search_undoing(graph, due, stop=stop, ends=["done", "failed"])
        for graph in shapes(size)
        for due in product(DUES, repeat=size)
        for stop in (False, True)
    )

    told(f"{size} steps, any of them due: {states} states")


@pytest.mark.full
def test_no_course_of_four_steps_with_any_compensations_goes_wrong():
    plans = ((graph, kinds) for graph in shapes(4) for kinds in product(KINDS, repeat=4))

    searched((Model(graph, kinds, policy) for graph, kinds in plans for policy in EITHER), "4 steps, any compensations")


@pytest.mark.full
def test_no_course_of_five_steps_goes_wrong():
    chance = random.Random(SEED)
    plans = (
        (graph, [*chosen])
        for graph in shapes(5)
        for chosen in [["succeeded"] * 5, ["started"] * 5, chance.choices(KINDS, k=5)]
    )

    searched(
        (Model(graph, kinds, policy, eager=True) for graph, kinds in plans for policy in EITHER),
        f"5 steps, each shape with 3 choices of compensations, seed {SEED}",
    )


@pytest.mark.full
def test_no_course_of_six_steps_goes_wrong():
    chance = random.Random(SEED)

    searched(
        (
            # How compensations fail is searched below.
            Model(graph, chance.choices(KINDS, k=6), chance.choice(EITHER), eager=True, ends="d")
            for graph in shapes(6)
        ),
        f"6 steps, each shape with a choice of compensations, seed {SEED}",
    )


@pytest.mark.full
def test_no_order_in_which_five_compensations_end_goes_wrong():
    states = sum(
        search_undoing(graph, due, stop=stop, ends=["done", "failed"])
        for graph in shapes(5)
        for due in product(DUES, repeat=5)
        for stop in (False, True)
    )

    told(f"5 steps, any of them due: {states} states")


@pytest.mark.full
def test_no_order_in_which_six_compensations_end_goes_wrong():
    some = sum(
        search_undoing(graph, due, stop=False, ends=["done"])
        for graph in shapes(6)
        for due in product(("undo", "nothing"), repeat=6)
    )
    every = sum(search_undoing(graph, ["undo"] * 6, stop=True, ends=["done", "failed"]) for graph in shapes(6))

    told(f"6 steps, any of them due: {some} states; all of them, done or failed: {every} states")


@pytest.mark.parametrize("size", [3, 4])
def test_what_may_start_does_not_depend_on_how_steps_are_numbered(size: int):
    due: list[Due] = ["undo"] * size

    for graph in shapes(size):
        for order in islice(permutations(range(size)), 1, None):
            other = relabelled(graph, order)
            assert waves(other, due) == [{order[i] for i in wave} for wave in waves(graph, due)]


def waves(graph: Graph, due: list[Due]) -> list[set[int]]:
    """What starts together, if all that started ends before the next starts."""
    undoing = Undoing(graph, due, stop=False, ended={})
    found = [set(undoing.start())]
    while undoing.unsettled:
        found.append({started for i in found[-1] for started in undoing.settle(i, "done")})
    return found
