"""What becomes of a scheduler's run that was undone when a person clears it, or some of its tasks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from coterie import ForEach
from coterie.journal import Intent, Journal
from coterie.result import TaskResult
from coterie.saga import Saga
from coterie.stores.journal_memory import MemoryJournalStore
from tests.journal.saga.cloud import Cloud, plan_of, step

CHAIN = plan_of(step("net"), step("vm", "net"), step("app", "vm"))
CLEARED = Intent(engine_run="airflow.d.r", demand=1)


@pytest.fixture
def journal() -> Journal:
    return Journal(MemoryJournalStore())


async def undone(cloud: Cloud, journal: Journal, *, plan: Any = CHAIN) -> dict[str, TaskResult]:
    """A scheduler's run whose last task failed, and that was undone; what the scheduler takes its tasks' ends to be."""
    intent, results = Intent(engine_run="airflow.d.r"), dict[str, TaskResult]()
    for task in plan.tasks:
        results[task.id] = await cloud.orchestrator(journal).execute_task(
            task, upstream=results, workflow_id="run", plan=plan, intent=intent
        )
    await Saga(cloud.orchestrator(journal)).compensate(plan, results, workflow_id="run", intent=intent)
    cloud.log.clear()
    return results


async def test_a_person_who_has_only_the_failed_task_done_again_has_the_run_stay_undone(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    results = await undone(cloud, journal)
    saga = Saga(cloud.orchestrator(journal))

    admitted = await saga.admits(CHAIN, "app", {"vm": results["vm"]}, workflow_id="run", intent=CLEARED)
    told = await saga.compensate(CHAIN, results, workflow_id="run", intent=CLEARED)

    assert not admitted
    assert (told.outcome, cloud.log) == ("compensated", [])


async def test_a_run_begins_anew_with_those_that_build_on_nothing_and_the_others_follow(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    await undone(cloud, journal)
    saga = Saga(cloud.orchestrator(journal))

    results: dict[str, TaskResult] = {}
    for task in CHAIN.tasks:
        before = {name: results[name] for name in task.upstream}
        assert await saga.admits(CHAIN, task.id, before, workflow_id="run", intent=CLEARED)
        results[task.id] = await cloud.orchestrator(journal).execute_task(
            task, upstream=before, workflow_id="run", plan=CHAIN, intent=CLEARED
        )
    told = await saga.compensate(CHAIN, results, workflow_id="run", intent=CLEARED)

    assert cloud.log == ["+net", "+vm", "+app"]
    assert (told.status, told.outcome) == ("succeeded", "succeeded")


async def test_a_success_that_was_undone_and_not_done_anew_is_none(journal: Journal):
    cloud = Cloud(fails=Counter({"+bad": 1}))
    plan = plan_of(step("net"), step("vm", "net"), step("other"), step("each", foreach=ForEach(items=[1])), step("bad"))
    results = await undone(cloud, journal, plan=plan)
    saga = Saga(cloud.orchestrator(journal))

    # A person clears `other`, `vm` and `bad`, but not `net` and `each`.
    assert await saga.admits(plan, "other", workflow_id="run", intent=CLEARED)
    assert not await saga.admits(plan, "vm", {"net": results["net"]}, workflow_id="run", intent=CLEARED)
    assert not await saga.admits(plan, "vm", {"each": results["each"]}, workflow_id="run", intent=CLEARED)
    for name in ("other", "bad"):
        results[name] = await cloud.orchestrator(journal).execute_task(
            plan.task(name), workflow_id="run", plan=plan, intent=CLEARED
        )
    told = await saga.compensate(plan, results, workflow_id="run", intent=CLEARED)

    assert [told[name].state for name in ("net", "vm", "other", "each", "bad")] == [
        "cancelled",
        "cancelled",
        "succeeded",
        "cancelled",
        "succeeded",
    ]
    assert cloud.log[:2] == ["+other", "+bad"]
    assert sorted(cloud.undone()) == ["-bad", "-other"]
    assert (told.status, told.outcome) == ("failed", "compensated")


async def test_what_stands_is_undone_before_a_run_that_a_person_clears_begins_anew(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1, "-net": 3}))
    results = await undone(cloud, journal)
    saga = Saga(cloud.orchestrator(journal))

    first = await saga.admits(CHAIN, "net", {}, workflow_id="run", intent=CLEARED)
    told = await saga.compensate(CHAIN, results, workflow_id="run", intent=CLEARED)
    second = await saga.admits(CHAIN, "net", {}, workflow_id="run", intent=replace(CLEARED, demand=2))

    assert (first, second) == (False, True)
    assert (told.outcome, cloud.log) == ("compensated", ["-net"])
