"""Durable steps: what an agent has done so far is not done again when it is asked again, in whatever process."""

from __future__ import annotations

from typing import Any

import pytest

from coterie import Agent, Orchestrator, TaskContext, Team
from coterie.journal import Intent, Journal
from coterie.journal.place import place_of
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.task import Retry
from tests.journal.bench import RUN_ID, Bench, step_of
from tests.journal.script import TASK, Script


@pytest.fixture
def script() -> Script:
    return Script()


async def test_a_finished_step_is_not_done_again_by_another_attempt(script: Script):
    async def work(ctx: TaskContext) -> Any:
        return [await ctx.step("s", script.step(), n) for n in (1, 2, 3)]

    await script.lost(work)
    result = await script.attempt(work)

    assert script.log == [1, 2, 3]
    assert result.output == [1, 2, 3]


async def test_an_attempt_goes_on_behind_the_steps_that_were_finished(script: Script):
    async def some(ctx: TaskContext) -> Any:
        await ctx.step("one", script.step(), 1)

    async def all_of_it(ctx: TaskContext) -> Any:
        return [await ctx.step("one", script.step(), 1), await ctx.step("two", script.step(), 2)]

    await script.lost(some)
    result = await script.attempt(all_of_it)

    assert script.log == [1, 2]
    assert result.output == [1, 2]
    (told,) = script.bench.told("task.resumed")
    assert told.fields["steps"] == 1


async def test_that_an_attempt_goes_on_is_told_once_when_its_first_step_is_recalled(script: Script):
    seen: list[int] = []

    async def two(ctx: TaskContext) -> Any:
        await ctx.step("one", script.step(), 1)
        await ctx.step("two", script.step(), 2)

    async def all_of_it(ctx: TaskContext) -> Any:
        await ctx.step("one", script.step(), 1)
        seen.append(len(script.bench.told("task.resumed")))
        await ctx.step("two", script.step(), 2)
        await ctx.step("three", script.step(), 3)

    await script.lost(two)
    await script.attempt(all_of_it)

    (told,) = script.bench.told("task.resumed")
    assert (told.fields["steps"], seen) == (2, [1]), "before the agent went on"


async def test_a_step_that_raises_is_done_again(script: Script):
    async def work(ctx: TaskContext) -> Any:
        async def fail() -> None:
            script.log.append("failed")
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await ctx.step("s", fail)

    await script.lost(work)
    await script.attempt(work)

    assert script.log == ["failed", "failed"]


async def test_an_attempt_in_the_same_process_finds_the_steps_of_the_one_before():
    log: list[Any] = []

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        await ctx.step("s", step_of(log), 1)
        if ctx.attempt == 1:
            raise ValueError("once")
        return await ctx.step("t", step_of(log), 2)

    team = Team("t", [Agent("a", "work", work, retry=Retry(max_attempts=2, base_s=0.0))])
    orchestrator = Orchestrator(team, journal=Journal(MemoryJournalStore()))

    result = await orchestrator.execute_task(TASK, workflow_id=RUN_ID)

    assert (result.output, result.attempts, log) == (2, 2, [1, 2])


async def test_what_a_failed_attempt_finished_is_there_when_a_person_goes_on(script: Script):
    async def fail(ctx: TaskContext) -> Any:
        await ctx.step("s", script.step(), 1)
        raise ValueError("no")

    async def work(ctx: TaskContext) -> Any:
        return await ctx.step("s", script.step(), 1)

    await script.attempt(fail)
    result = await script.attempt(work, goes_on=True)

    assert (script.log, result.output) == ([1], 1)


@pytest.mark.parametrize("intent", [{"force": "x"}, {"engine_run": "e", "demand": 1}])
async def test_what_is_done_anew_has_steps_of_its_own(script: Script, intent: dict[str, Any]):
    async def work(ctx: TaskContext) -> Any:
        return await ctx.step("s", script.step(), 1)

    await script.attempt(work, engine_run="e")
    await script.bench.journal().note_seen(RUN_ID, place_of("a"), Intent("e"))
    await script.attempt(work, **intent)

    assert script.log == [1, 1]


async def test_another_version_of_the_agents_has_steps_of_its_own(script: Script):
    async def work(ctx: TaskContext) -> Any:
        return await ctx.step("s", script.step(), 1)

    await script.attempt(work)
    script.now = work
    await script.bench.task(TASK, versions={"work": "2"})

    assert script.log == [1, 1]


async def test_steps_that_a_whole_run_has_finished_are_there_for_a_worker_of_a_scheduler():
    log: list[Any] = []
    crash = [True]

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        await ctx.step("s", step_of(log), 1)
        if crash:
            raise KeyboardInterrupt
        return "done"

    bench = Bench(a=work)
    with pytest.raises(KeyboardInterrupt):
        await bench.run([TASK])
    crash.clear()

    result = await bench.task(TASK)

    assert (log, result.output) == ([1], "done")


async def test_without_a_journal_a_step_is_a_call():
    log: list[Any] = []

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        return [await ctx.step("s", step_of(log), n) for n in (1, 2)]

    orchestrator = Orchestrator(Team("t", [Agent("a", "work", work)]))

    for _ in range(2):
        assert (await orchestrator.execute_task(TASK)).output == [1, 2]

    assert log == [1, 2, 1, 2]
