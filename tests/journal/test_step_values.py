"""What steps return, and what they are called with: the same when it is replayed; from another call on, all is live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from coterie import Retry, TaskContext
from coterie.artifacts import ArtifactStore
from coterie.errors import Misuse
from tests.journal.bench import RUN_ID, Bench, Busy
from tests.journal.script import LATER, TASK, Script


@pytest.fixture
def script() -> Script:
    return Script()


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


# Other calls


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


async def test_steps_that_are_others_now_and_end_at_the_same_time_are_all_kept(script: Script):
    script.bench.store = Busy()

    def work(argument: int) -> Callable[[TaskContext], Any]:
        async def at_once(ctx: TaskContext) -> Any:
            return await asyncio.gather(*(ctx.step(name, script.step(), argument) for name in "abc"))

        return at_once

    await script.lost(work(1))
    await script.lost(work(2))
    script.log.clear()

    result = await script.attempt(work(2))

    assert (result.output, script.log) == ([2, 2, 2], [])


async def test_a_step_that_is_another_now_is_an_error_for_the_strict(script: Script):
    await script.lost(calls(script, ("a", 1)))
    script.log.clear()

    result = await script.attempt(calls(script, ("a", 2)), strict=True)

    assert result.error is not None
    assert result.error.type == "Diverged"
    assert "'a'" in result.error.message
    assert script.log == []


async def test_what_diverged_for_the_strict_is_not_tried_again(script: Script):
    await script.lost(calls(script, ("a", 1)))
    script.now = calls(script, ("a", 2))
    persistent = replace(TASK, retry=Retry(max_attempts=3, base_s=0.0, cap_s=0.0))

    result = await script.bench.task(persistent, strict=True)

    assert (result.state, result.attempts) == ("failed", 1)


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
