"""Items of a foreach are finished one by one, and found again wherever they stand in their list."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie import ForEach, Plan, Task
from tests.journal.bench import Bench


def mapped(items: list[Any] | None = None, **foreach: Any) -> Plan:
    source = {"items": items} if items is not None else {"task": "a"}
    tasks = [Task("m", "work", foreach=ForEach(**source, **foreach)), Task("z", "work", depends_on=["m"])]
    return Plan("mapped", tasks if items is not None else [Task("a", "other"), *tasks])


async def test_items_are_replayed_one_by_one():
    failing = {2}

    def twice(task_input: Any, ctx: Any) -> int:
        if ctx.item in failing:
            raise ValueError("two")
        return int(ctx.item) * 2

    bench = Bench(m=twice)
    plan = mapped([1, 2, 3], tolerate_failures=1)
    first = await bench.run(plan)
    bench.forget_calls()

    again = await bench.run(plan)
    failing.clear()
    resumed = await bench.run(plan, goes_on=True)

    assert again.status_document() == first.status_document()
    assert again["m"].items == first["m"].items
    # Its output is another now, and so is what follows.
    assert bench.calls == ["m[2]", "z"]
    assert resumed["m"].output == [2, 4, 6]


async def test_items_that_a_worker_has_done_are_replayed_in_a_whole_run():
    bench = Bench()
    plan = mapped([1, 2, 3])
    await bench.task(plan.tasks[0])
    bench.forget_calls()

    await bench.run(plan)

    assert bench.calls == ["z"]


async def test_items_that_are_equal_are_each_done_once():
    bench = Bench()

    await bench.run(mapped([1, 1, 2]))
    await bench.run(mapped([2, 1, 1]), allow_changes=True)

    # The list of outputs is another then, and what follows reads it.
    assert sorted(bench.calls) == ["m[1]", "m[1]", "m[2]", "z", "z"]


async def test_an_item_that_is_new_is_all_that_is_done_wherever_it_stands_in_the_list():
    bench = Bench(a=[1, 2, 3], m=lambda _, ctx: ctx.item)
    await bench.run(mapped())
    bench.forget_calls()
    bench.does["a"] = [0, 1, 2, 3]

    result = await bench.run(mapped(), versions={"other": "2"})

    assert bench.calls == ["a", "m[0]", "z"]
    assert result["m"].output == [0, 1, 2, 3]


async def test_an_item_that_is_gone_is_not_done_and_what_follows_is():
    bench = Bench(a=[1, 2, 3], m=lambda _, ctx: ctx.item)
    await bench.run(mapped())
    bench.forget_calls()
    bench.does["a"] = [3, 1]

    result = await bench.run(mapped(), versions={"other": "2"})

    assert bench.calls == ["a", "z"]
    assert result["m"].output == [3, 1]


async def test_items_named_by_the_user_are_done_anew_when_they_change():
    bench = Bench(a=[{"id": "x", "n": 1}, {"id": "y", "n": 1}], m=lambda _, ctx: ctx.item["n"])
    plan = mapped(key="/id")
    await bench.run(plan)
    bench.forget_calls()
    bench.does["a"] = [{"id": "y", "n": 1}, {"id": "x", "n": 2}]

    await bench.run(plan, versions={"other": "2"})

    assert bench.calls == ["a", "m[{'id': 'x', 'n': 2}]", "z"]


@pytest.mark.parametrize("key", ["plain", "a/b", "~", "ü", "#", "x" * 500, "a b", "..", "=", "\u2028"])
async def test_items_of_any_name_are_found_again(key: str):
    bench = Bench()
    plan = mapped([{"id": key}, {"id": f"{key}2"}], key="/id")

    await bench.run(plan)
    await bench.run(plan)

    assert len(bench.calls) == 3


async def test_a_foreach_over_nothing_is_nothing_again():
    bench = Bench(a=[])

    first = await bench.run(mapped())
    again = await bench.run(mapped())

    assert bench.calls == ["a", "z"]
    assert again.status_document() == first.status_document()


@settings(max_examples=40, deadline=None)
@given(before=st.lists(st.integers(0, 4), max_size=7), after=st.lists(st.integers(0, 4), max_size=7))
def test_of_a_list_that_has_changed_exactly_the_new_items_are_done(before: list[int], after: list[int]):
    async def calls() -> list[str]:
        bench = Bench(a=before, m=lambda _, ctx: ctx.item * 10)
        await bench.run(mapped())
        bench.forget_calls()
        bench.does["a"] = after
        result = await bench.run(mapped(), versions={"other": "2"})
        assert result["m"].output == [item * 10 for item in after]
        return bench.calls

    done = asyncio.run(calls())

    # Of equal ones, as many as there were before are there.
    new = Counter(after) - Counter(before)
    assert Counter(done) == Counter({f"m[{item}]": count for item, count in new.items()}) + Counter(
        ["a"] if before == after else ["a", "z"]
    )
