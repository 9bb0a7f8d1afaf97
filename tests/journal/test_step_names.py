"""What steps are called: told apart by order, by keys and by what is around them; refused where that cannot be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie import TaskContext
from coterie.errors import Misuse
from tests.journal.script import LATER, Script


@pytest.fixture
def script() -> Script:
    return Script()


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
