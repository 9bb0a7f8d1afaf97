"""A run goes on with the plan that it began with, unless another one is allowed."""

from __future__ import annotations

import pytest

from coterie import Plan, Task
from coterie._rules.journal import RUN
from coterie.errors import PlanChanged
from coterie.journal import Intent
from coterie.journal.place import place_of
from tests.journal.bench import RUN_ID, Bench

TASK = Task("a", "work")
CHAIN = Plan("chain", [TASK, Task("b", "work", depends_on=["a"])])


async def test_a_run_does_not_go_on_with_another_plan_unless_that_is_allowed():
    bench = Bench()
    await bench.run(CHAIN)
    other = Plan("chain", [*CHAIN.tasks, Task("c", "work")])

    with pytest.raises(PlanChanged, match="'run'"):
        await bench.run(other)
    with pytest.raises(PlanChanged):
        await bench.orchestrator().execute_task(TASK, workflow_id=RUN_ID, plan=other)
    result = await bench.run(other, allow_changes=True)

    assert bench.calls == ["a", "b", "c"]
    assert result.status == "succeeded"
    # From now on it is the run's plan.
    assert (await bench.run(other)).status == "succeeded"
    with pytest.raises(PlanChanged):
        await bench.run(CHAIN)


async def test_a_plan_that_is_refused_changes_nothing_of_the_run():
    bench = Bench()
    await bench.run(CHAIN)
    before = await bench.store.read(RUN_ID)

    with pytest.raises(PlanChanged):
        await bench.run(Plan("chain", [TASK]))

    assert await bench.store.read(RUN_ID) == before


async def test_a_run_that_workers_began_is_gone_on_with_by_the_same_plan_alone():
    bench = Bench()
    await bench.orchestrator().execute_task(TASK, workflow_id=RUN_ID, plan=CHAIN, intent=Intent("airflow.d.r"))

    with pytest.raises(PlanChanged):
        await bench.run(Plan("chain", [TASK]))
    await bench.run(CHAIN)

    assert bench.calls == ["a", "b"]
    header = await bench.journal().header(RUN_ID)
    assert header is not None
    assert (header.engine_run, header.plan_hash, header.plan_name) == ("airflow.d.r", CHAIN.hash, "chain")


async def test_a_task_is_found_in_the_run_of_a_plan_without_being_told_the_plan():
    bench = Bench()
    await bench.run(CHAIN)

    assert (await bench.task(TASK)).replayed


async def test_the_place_of_a_task_is_its_own():
    names = ["a", "a-b", "run", "claim", "status", "A"]
    places = [place for name in names for place in place_of(name)]
    items = [place for key in ["a", "b", "claim", "~x", "x" * 200, "ü"] for place in place_of("a", key)]

    assert len(set(places) | set(items) | set(RUN)) == len(places) + len(items) + len(RUN)
