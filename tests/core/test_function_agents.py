"""Who may be an agent, what it may return, and what its input becomes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import pytest

from coterie import Orchestrator, Retry, Task, TaskContext, TaskResult

if TYPE_CHECKING:
    from coterie import sync

AT_ONCE = Retry(max_attempts=3, base_s=0, cap_s=0)


async def perform(handler: Any, **fields: Any) -> TaskResult:
    """Run one task on an agent of its own."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=handler)
    return await orchestrator.execute_task(Task("t", "x", **fields))


def error_of(result: TaskResult) -> tuple[str, str]:
    assert result.state == "failed"
    assert result.error is not None
    return result.error.type, result.error.message


# What an agent may return.


class Colour(pydantic.BaseModel):
    name: str
    rgb: tuple[int, int, int]


@dataclasses.dataclass
class Point:
    x: int
    at: dt.date


@pytest.mark.parametrize(
    ("value", "output"),
    [
        (None, None),
        (0, 0),
        (1.5, 1.5),
        ("", ""),
        ((1, (2,)), [1, [2]]),
        ({"a": {"b": []}}, {"a": {"b": []}}),
        (Colour(name="red", rgb=(1, 0, 0)), {"name": "red", "rgb": [1, 0, 0]}),
        ([Point(1, dt.date(2026, 1, 2))], [{"x": 1, "at": "2026-01-02"}]),
        (b"text", "text"),
    ],
)
async def test_what_json_can_say_is_an_output(value: Any, output: Any):
    async def give(task_input: Any, ctx: TaskContext) -> Any:
        return value

    assert (await perform(give)).output == output


def endless() -> Iterator[int]:
    while True:
        yield 1


async def endless_async() -> AsyncIterator[int]:
    while True:
        yield 1


def deep() -> Any:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    return value


def circular() -> Any:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (object, "the output of 't' is no JSON"),
        (endless, "the output of 't' is a generator, which runs only when it is read; return a list"),
        (endless_async, "is a async_generator"),
        (lambda: float("nan"), "is nan, which JSON cannot say"),
        (lambda: {"a": float("inf")}, "is inf, which JSON cannot say"),
        (lambda: b"\xff", "the output of 't' is no JSON"),
        (lambda: print, "the output of 't' is no JSON"),
        (circular, "the output of 't' is no JSON"),
        (deep, "the output of 't' is no JSON"),
    ],
    ids=["object", "generator", "async generator", "nan", "inf", "bytes", "function", "circular", "deep"],
)
async def test_what_json_cannot_say_is_a_failure_that_no_retry_mends(make: Any, message: str):
    calls = []

    async def give(task_input: Any, ctx: TaskContext) -> Any:
        calls.append(ctx.attempt)
        return make()

    result = await perform(give, retry=AT_ONCE)

    assert error_of(result)[0] == "Misuse"
    assert message in error_of(result)[1]
    assert calls == [1]


async def test_a_generator_function_is_refused_with_what_to_do():
    def generate(task_input: Any) -> Any:
        yield 1

    assert "return a list" in error_of(await perform(generate))[1]


async def test_a_huge_output_is_kept_whole():
    async def give(task_input: Any, ctx: TaskContext) -> str:
        return "x" * 20_000_000

    output = (await perform(give)).output

    assert isinstance(output, str)
    assert len(output) == 20_000_000


# Who may be an agent.


class Methods:
    async def method(self, task_input: dict[str, Any], ctx: TaskContext) -> str:
        return f"method {ctx.task_id}"

    def plain(self, task_input: dict[str, Any]) -> str:
        return "plain"

    async def __call__(self, task_input: dict[str, Any]) -> str:
        return "called"


async def three(prefix: str, task_input: dict[str, Any], ctx: TaskContext) -> str:
    return f"{prefix} {ctx.task_id}"


@pytest.mark.parametrize(
    ("handler", "output"),
    [
        (Methods().method, "method t"),
        (Methods().plain, "plain"),
        (Methods(), "called"),
        (functools.partial(three, "partial"), "partial t"),
        (lambda task_input: "lambda", "lambda"),
        (lambda task_input, ctx: three("made by a lambda", task_input, _unwrapped(ctx)), "made by a lambda t"),
        (json.dumps, "{}"),
    ],
)
async def test_anything_that_can_be_called_is_an_agent(handler: Any, output: str):
    assert (await perform(handler)).output == output


def _unwrapped(ctx: sync.TaskContext) -> Any:
    return ctx


async def typed(task_input: Colour, ctx: sync.TaskContext) -> str:
    return f"{type(task_input).__name__} {task_input.name}"


async def test_the_input_becomes_the_declared_type_even_if_the_contexts_exists_for_checkers_only():
    result = await perform(typed, input={"name": "red", "rgb": [1, 2, 3]})

    assert result.output == "Colour red"


async def test_input_that_does_not_fit_the_declared_type_says_where():
    result = await perform(typed, input={"name": "red", "rgb": [1, "two", 3]}, retry=AT_ONCE)

    assert error_of(result)[0] == "Misuse"
    assert error_of(result)[1].startswith("the agent 'a' cannot take its input: rgb/1: Input should be a valid integer")
    assert result.attempts == 1


async def test_a_type_may_carry_whatever_notes():
    async def agent(task_input: Annotated[Colour, {"unit": "none"}]) -> str:
        return task_input.name

    result = await perform(agent, input={"name": "red", "rgb": [255, 0, 0]})

    assert result.output == "red"


async def test_an_object_of_numbers_is_validated_an_object_of_anything_is_not():
    async def numbers(task_input: dict[str, int]) -> int:
        return sum(task_input.values())

    async def anything(task_input: dict[str, Any]) -> int:
        return len(task_input)

    orchestrator = Orchestrator()
    orchestrator.register_agent("numbers", "numbers", handler=numbers)
    orchestrator.register_agent("anything", "anything", handler=anything)

    good, bad, free = [
        await orchestrator.execute_task(Task("t", agent_type, input=given))
        for agent_type, given in (("numbers", {"a": 1}), ("numbers", {"a": "no int"}), ("anything", {"a": "no int"}))
    ]

    assert (good.output, free.output) == (1, 1)
    assert bad.error is not None
    assert bad.error.type == "Misuse"
