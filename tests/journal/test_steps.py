"""Durable steps: what an agent has done so far is not done again when it is asked again, in whatever process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from coterie import Agent, Orchestrator, Task, TaskContext, Team
from coterie.artifacts import ArtifactStore
from coterie.errors import LeaseLost, Misuse, Refused
from coterie.journal import Intent, Journal
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.sync import TaskContext as BlockingContext
from coterie.task import Retry
from tests.journal.bench import RUN_ID, Bench, step_of

TASK = Task("a", "work")
LATER = Refused("not now", retry_after_s=1.0)


class Script:
    """An agent that is told anew what to do each time. log: the steps whose functions were called."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.now: Any = None
        self.bench = Bench(a=self._work)

    async def attempt(self, now: Callable[[TaskContext], Any], **intent: Any) -> Any:
        """One call of the agent, as from another process; what it returned. What is not now leaves no record."""
        self.now = now
        return await self.bench.task(TASK, **intent)

    async def _work(self, task_input: Any, ctx: TaskContext) -> Any:
        return await self.now(ctx)

    async def lost(self, now: Callable[[TaskContext], Any], **intent: Any) -> None:
        """An attempt whose end nobody hears of: what it had done stays."""

        async def then_lost(ctx: TaskContext) -> None:
            await now(ctx)
            raise LATER

        result = await self.attempt(then_lost, **intent)
        assert result.error is not None
        assert result.error.type == "Refused"

    def step(self, value: Any = None) -> Callable[..., Any]:
        return step_of(self.log, value)


@pytest.fixture
def script() -> Script:
    return Script()


# Replays


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
    from coterie.journal.place import place_of

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


# Names


async def test_steps_of_one_name_are_told_apart_by_their_order(script: Script):
    async def work(ctx: TaskContext) -> Any:
        return [await ctx.step("s", script.step(n), n) for n in range(5)]

    await script.lost(work)
    result = await script.attempt(work)

    assert (script.log, result.output) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])


async def test_steps_at_once_are_told_apart_by_their_keys(script: Script):
    async def work(ctx: TaskContext) -> Any:
        keys = [f"k{n}" for n in range(20)]
        return await asyncio.gather(*(ctx.step("s", script.step(), key, key=key) for key in keys))

    await script.lost(work)

    async def backwards(ctx: TaskContext) -> Any:
        keys = [f"k{n}" for n in reversed(range(20))]
        return await asyncio.gather(*(ctx.step("s", script.step(), key, key=key) for key in keys))

    result = await script.attempt(backwards)

    assert len(script.log) == 20
    assert result.output == [f"k{n}" for n in reversed(range(20))]


async def test_two_steps_of_one_name_at_once_are_refused_without_keys(script: Script):
    async def work(ctx: TaskContext) -> Any:
        started = asyncio.Event()

        async def first() -> str:
            started.set()
            await asyncio.sleep(0.01)
            return "first"

        running = asyncio.ensure_future(ctx.step("s", first))
        await started.wait()
        with pytest.raises(Misuse, match="key"):
            await ctx.step("s", script.step("second"))
        with pytest.raises(Misuse, match="key"):
            async with asyncio.timeout(1):
                await asyncio.gather(ctx.step("t", first, key="k"), ctx.step("t", first, key="k"))
        return await running

    result = await script.attempt(work)

    assert (result.output, script.log) == ("first", [])


async def test_steps_at_once_under_different_steps_may_share_a_name(script: Script):
    async def work(ctx: TaskContext) -> Any:
        async def outer(name: str) -> Any:
            return await ctx.step("inner", script.step(), name)

        return await asyncio.gather(ctx.step("x", outer, "x"), ctx.step("y", outer, "y"))

    await script.lost(work)
    result = await script.attempt(work)

    assert (sorted(script.log), result.output) == (["x", "y"], ["x", "y"])


async def test_a_step_within_a_finished_step_is_not_looked_at(script: Script):
    async def work(ctx: TaskContext) -> Any:
        async def outer() -> Any:
            script.log.append("outer")
            return await ctx.step("inner", script.step(), "inner")

        return await ctx.step("outer", outer)

    await script.lost(work)
    await script.attempt(work)

    assert script.log == ["outer", "inner"]


async def test_a_step_within_one_that_failed_is_there(script: Script):
    failing = [True]

    async def work(ctx: TaskContext) -> Any:
        async def outer() -> Any:
            found = await ctx.step("inner", script.step(), "inner")
            if failing:
                raise LATER
            return found

        return await ctx.step("outer", outer)

    assert (await script.attempt(work)).state == "failed"
    failing.clear()
    result = await script.attempt(work)

    assert (script.log, result.output) == (["inner"], "inner")


@pytest.mark.parametrize("name", ["", "a/b", "a#2", "a=b", "a\nb", "x" * 101, "\x00", "\ud800"])
async def test_a_name_that_cannot_be_kept_is_refused_before_the_step_is_done(script: Script, name: str):
    async def work(ctx: TaskContext) -> Any:
        with pytest.raises(Misuse):
            await ctx.step(name, script.step(), 1)

    await script.attempt(work)

    assert script.log == []


async def test_steps_that_lie_too_deep_are_refused_before_they_are_done(script: Script):
    async def deeper(ctx: TaskContext, level: int) -> int:
        script.log.append(level)
        return await ctx.step("x" * 100, lambda: deeper(ctx, level + 1))  # type: ignore[no-any-return]

    async def work(ctx: TaskContext) -> Any:
        with pytest.raises(Misuse, match="deep"):
            await deeper(ctx, 0)

    result = await script.attempt(work)

    assert result.state == "succeeded"
    assert len(script.log) == 5


@pytest.mark.parametrize("name", ["ü", "a b", "🌱", "%", "*", "{x}", "..", "'", '"', "\\", "x" * 100, "run", "claim"])
async def test_any_other_name_finds_its_step_again(script: Script, name: str):
    async def work(ctx: TaskContext) -> Any:
        return [await ctx.step(name, script.step(), 1), await ctx.step(name, script.step(), 2, key=name)]

    await script.lost(work)
    await script.attempt(work)

    assert script.log == [1, 2]


# Values


class Point(BaseModel):
    x: int


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1, {"b": None}]}, 1.5, True, "ü🌱\u2028\x00"])
async def test_a_step_gives_the_same_value_when_it_is_replayed(script: Script, value: Any):
    async def give() -> Any:
        return value

    async def work(ctx: TaskContext) -> Any:
        return [await ctx.step("s", give)]

    await script.lost(work)
    result = await script.attempt(work)

    assert result.output == [value]


async def test_a_step_gives_json_the_first_time_too(script: Script):
    async def work(ctx: TaskContext) -> Any:
        first = await ctx.step("s", script.step(Point(x=1)))
        typed = await ctx.step("t", script.step(Point(x=2)), type_=Point)
        return [first, isinstance(typed, Point)]

    await script.lost(work)
    result = await script.attempt(work)

    assert result.output == [{"x": 1}, True]


async def test_a_value_that_is_no_json_fails_the_step(script: Script):
    async def work(ctx: TaskContext) -> Any:
        async def give() -> Any:
            return object()

        with pytest.raises(Misuse):
            await ctx.step("s", give)

    assert (await script.attempt(work)).state == "succeeded"


async def test_a_value_that_is_changed_afterwards_is_replayed_as_it_was(script: Script):
    async def work(ctx: TaskContext) -> Any:
        value = await ctx.step("s", script.step({"n": [1]}))
        value["n"].append(2)
        return value

    await script.lost(work)
    result = await script.attempt(work)

    assert result.output == {"n": [1, 2]}


async def test_large_values_lie_where_artifacts_do(tmp_path: Path):
    bench = Bench()
    log: list[Any] = []
    large = "x" * 3_000_000

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        async def give() -> str:
            log.append(1)
            return large

        assert await ctx.step("s", give) == large
        if len(bench.calls) == 1:
            raise LATER
        return "done"

    bench.does["a"] = work
    artifacts = ArtifactStore(f"file://{tmp_path}")
    for _ in range(2):
        result = await bench.orchestrator(artifacts=artifacts).execute_task(TASK, workflow_id=RUN_ID)

    assert (result.state, log) == ("succeeded", [1])
    texts = await bench.store.read(RUN_ID, "a")
    assert sum(map(len, texts.values())) < 1000


async def test_a_large_value_without_artifacts_fails_its_task_and_says_why(script: Script):
    async def give() -> str:
        return "x" * 3_000_000

    async def work(ctx: TaskContext) -> Any:
        await ctx.step("s", give)

    result = await script.attempt(work)

    assert result.error is not None
    assert "artifact store" in result.error.message


# Divergence


def calls(script: Script, *steps: tuple[str, Any]) -> Callable[[TaskContext], Any]:
    async def work(ctx: TaskContext) -> Any:
        return [await ctx.step(name, script.step(), argument) for name, argument in steps]

    return work


async def test_from_a_step_that_is_another_now_everything_runs_live(script: Script):
    await script.lost(calls(script, ("a", 1), ("b", 2), ("c", 3)))
    script.log.clear()

    result = await script.attempt(calls(script, ("a", 1), ("b", 20), ("c", 3)))

    assert (script.log, result.output) == ([20, 3], [1, 20, 3])


async def test_what_came_after_a_step_that_is_another_now_is_not_replayed_later_either(script: Script):
    await script.lost(calls(script, ("a", 1), ("b", 2), ("c", 3)))
    await script.lost(calls(script, ("a", 1), ("b", 20)))
    script.log.clear()

    result = await script.attempt(calls(script, ("a", 1), ("b", 20), ("c", 3)))

    assert (script.log, result.output) == ([3], [1, 20, 3])


async def test_steps_that_ran_while_another_one_diverged_are_kept(script: Script):
    def work(argument: int) -> Callable[[TaskContext], Any]:
        async def at_once(ctx: TaskContext) -> Any:
            await asyncio.gather(
                ctx.step("s", script.step(), argument, key="x"),
                ctx.step("s", script.step(), 2, key="y"),
            )

        return at_once

    await script.lost(work(1))
    await script.lost(work(10))
    script.log.clear()

    await script.attempt(work(10))

    assert script.log == []


async def test_a_step_that_is_another_now_is_an_error_for_the_strict(script: Script):
    await script.lost(calls(script, ("a", 1)))
    script.log.clear()

    result = await script.attempt(calls(script, ("a", 2)), strict=True)

    assert result.error is not None
    assert result.error.type == "Diverged"
    assert "'a'" in result.error.message
    assert script.log == []


async def test_a_new_version_of_a_step_is_another_step(script: Script):
    def work(version: str) -> Callable[[TaskContext], Any]:
        async def versioned(ctx: TaskContext) -> Any:
            return await ctx.step("s", script.step(), 1, version=version)

        return versioned

    await script.lost(work("1"))
    await script.attempt(work("2"))

    assert script.log == [1, 1]


async def test_arguments_that_are_no_json_do_not_count(script: Script):
    async def work(ctx: TaskContext) -> Any:
        async def step(client: object, n: int) -> int:
            script.log.append(n)
            return n

        return await ctx.step("s", step, object(), 1)

    await script.lost(work)
    await script.attempt(work, strict=True)

    assert script.log == [1]


async def test_steps_may_be_left_out_and_added_behind(script: Script):
    await script.lost(calls(script, ("a", 1), ("b", 2)))
    script.log.clear()

    result = await script.attempt(calls(script, ("b", 2), ("c", 3)))

    assert (script.log, result.output) == ([3], [2, 3])


# Blocking agents


def blocking(work: Callable[[BlockingContext], Any], **agent: Any) -> Orchestrator:
    def agent_of(task_input: Any, ctx: BlockingContext) -> Any:
        return work(ctx)

    return Orchestrator(Team("t", [Agent("a", "work", agent_of, **agent)]), journal=Journal(MemoryJournalStore()))


async def test_steps_of_a_blocking_agent_are_durable_too():
    log: list[Any] = []
    threads: set[int] = set()

    def step(n: int) -> int:
        log.append(n)
        threads.add(threading.get_ident())
        return n

    def work(ctx: BlockingContext) -> Any:
        def outer() -> int:
            return ctx.step("inner", step, 2) + ctx.step("inner", step, 3)  # type: ignore[no-any-return]

        found = [ctx.step("s", step, 1), ctx.step("outer", outer)]
        if len(log) == 3 and not again:
            again.append(1)
            raise LATER
        return [*found, threads == {threading.get_ident()} or len(threads) == 1]

    again: list[int] = []
    orchestrator = blocking(work)
    await orchestrator.execute_task(TASK, workflow_id=RUN_ID)
    result = await orchestrator.execute_task(TASK, workflow_id=RUN_ID)

    assert log == [1, 2, 3]
    assert result.output == [1, 5, True]


async def test_a_blocking_agent_that_was_cut_off_does_not_disturb_the_attempt_after_it():
    let_go, begun, over, log = threading.Event(), threading.Event(), threading.Event(), []

    def cut_off(ctx: BlockingContext) -> None:
        ctx.step("s", let_go.wait, 10)
        begun.set()
        try:
            ctx.step("t", log.append, "of the attempt that was cut off")
        except LeaseLost:
            log.append("refused")
        over.set()

    def work(ctx: BlockingContext) -> Any:
        if ctx.attempt == 1:
            return cut_off(ctx)

        def step() -> str:
            let_go.set()
            assert over.wait(10)
            return "t"

        return ctx.step("t", step)

    orchestrator = blocking(work, retry=Retry(max_attempts=2, base_s=0.0), capacity=2)

    result = await orchestrator.execute_task(Task("a", "work", timeout_s=0.3), workflow_id=RUN_ID)

    assert (result.state, result.output, result.attempts) == ("succeeded", "t", 2), result.error
    assert log == ["refused"]
