"""A changed agent, or list, has exactly what follows from it done anew, as far as outputs differ."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie import ForEach, Journal, Orchestrator, Plan, Task
from coterie.ids import content_hash
from coterie.stores.journal_memory import MemoryJournalStore

# For each task, the tasks that it waits for: earlier ones.
Graph = Sequence[Collection[int]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    size = draw(st.integers(1, 14))
    return [sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(size)]


def name(i: int) -> str:
    return f"t{i}"


def plan_of(graph: Graph) -> Plan:
    """Each task is for an agent type of its own."""
    return Plan(
        "graph", [Task(name(i), name(i), depends_on=tuple(map(name, before))) for i, before in enumerate(graph)]
    )


def cone(graph: Graph, roots: Collection[int]) -> set[str]:
    """The roots and all that comes after them, by going through the whole graph until nothing more is found."""
    found = set(roots)
    while True:
        more = {i for i, before in enumerate(graph) if i not in found and found & set(before)}
        if not more:
            return set(map(name, found))
        found |= more


async def run(graph: Graph, store: MemoryJournalStore, versions: Mapping[int, str], deaf: Collection[int]) -> list[str]:
    """Run it once, and say which agents were called. deaf: agents whose output does not depend on anything."""
    called: list[str] = []
    orchestrator = Orchestrator(journal=Journal(store))

    def agent(i: int) -> Any:
        async def work(_: dict[str, Any], ctx: Any) -> str:
            called.append(ctx.task_id)
            if i in deaf:
                return "always the same"
            before = {task: await ctx.output(task) for task in ctx.upstream}
            return content_hash([i, versions.get(i, "1"), before])

        return work

    for i in range(len(graph)):
        orchestrator.register_agent(name(i), name(i), handler=agent(i), version=versions.get(i, "1"))
    result = await orchestrator.execute_workflow(plan_of(graph), workflow_id="w")
    assert result.status == "succeeded"
    return called


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graph=graphs(), data=st.data())
def test_what_follows_from_a_changed_agent_is_done_anew_and_nothing_else(graph: Graph, data: st.DataObject):
    changed = data.draw(st.sets(st.integers(0, len(graph) - 1), min_size=1, max_size=3))
    store = MemoryJournalStore("default")
    asyncio.run(run(graph, store, {}, ()))

    called = asyncio.run(run(graph, store, dict.fromkeys(changed, "2"), ()))

    assert len(called) == len(set(called))
    assert set(called) == cone(graph, changed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graph=graphs(), data=st.data())
def test_it_stops_where_an_output_comes_out_equal(graph: Graph, data: st.DataObject):
    changed = data.draw(st.integers(0, len(graph) - 1))
    deaf = data.draw(st.sets(st.integers(0, len(graph) - 1)))
    store = MemoryJournalStore("default")
    asyncio.run(run(graph, store, {}, deaf))

    called = asyncio.run(run(graph, store, {changed: "2"}, deaf))

    # Independently: a task runs if it changed, or one before it gave another output; the deaf never do.
    differs: set[int] = set()
    expected: set[int] = set()
    for i, before in enumerate(graph):
        if i == changed or differs & set(before):
            expected.add(i)
            if i not in deaf:
                differs.add(i)
    assert set(called) == set(map(name, expected))


@pytest.mark.parametrize("seed", range(3))
def test_in_a_plan_of_a_thousand_tasks_too(seed: int):
    rng = random.Random(seed)
    graph = [sorted({rng.randrange(i) for _ in range(3)}) if i else [] for i in range(1000)]
    changed = rng.randrange(1000)
    store = MemoryJournalStore("default")
    asyncio.run(run(graph, store, {}, ()))

    called = asyncio.run(run(graph, store, {changed: "2"}, ()))

    assert set(called) == cone(graph, [changed])


@settings(max_examples=40, deadline=None)
@given(items=st.lists(st.integers(0, 5), max_size=8), new=st.integers(0, 9))
def test_an_item_that_is_put_in_front_is_the_only_one_that_is_done(items: list[int], new: int):
    store, called = MemoryJournalStore("default"), []

    async def once(given: list[int]) -> Any:
        orchestrator = Orchestrator(journal=Journal(store))

        async def work(task_input: dict[str, Any]) -> int:
            called.append(task_input["item"])
            return task_input["item"] * 10

        orchestrator.register_agent("a", "worker", handler=work)
        plan = Plan("list", [Task("each", "worker", foreach=ForEach(items=given))])
        from coterie import Intent

        result = await orchestrator.execute_workflow(plan, workflow_id="w", intent=Intent(allow_changes=True))
        return result["each"].output

    asyncio.run(once(items))
    called.clear()

    output = asyncio.run(once([new, *items]))

    assert output == [item * 10 for item in (new, *items)]
    assert called == [new]
