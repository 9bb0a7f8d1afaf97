"""One unit of work: time-outs, retries, and everything an agent may raise or return."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest

from coterie import ForEach, Orchestrator, Retry, Task, TaskContext, TaskResult
from coterie.errors import ArtifactError, Misuse, StepFailed

if TYPE_CHECKING:
    pass

AT_ONCE = Retry(max_attempts=3, base_s=0, cap_s=0)


async def perform(handler: Any, **fields: Any) -> TaskResult:
    """Run one task on an agent of its own; afterwards no slot is in use."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=handler)
    result = (await orchestrator.execute_workflow([Task("t", "x", **fields)]))["t"]
    assert [agent.in_use for agent in orchestrator.get_status().agents] == [0]
    return result


def error_of(result: TaskResult) -> tuple[str, str]:
    assert result.state == "failed"
    assert result.error is not None
    return result.error.type, result.error.message


# Time-outs.


async def hang(task_input: Any, ctx: TaskContext) -> None:
    await asyncio.Event().wait()


async def test_an_agent_that_hangs_is_cut_off():
    result = await perform(hang, timeout_s=0.01)

    assert error_of(result) == (
        "TaskTimedOut",
        "the task 't' did not end within 0.01 s; raise its timeout_s or make it smaller",
    )


async def test_the_deadline_is_told_to_the_agent():
    async def tell(task_input: Any, ctx: TaskContext) -> float | None:
        return ctx.deadline

    assert (await perform(tell)).output is None
    deadline = (await perform(tell, timeout_s=1000)).output
    assert isinstance(deadline, float)


@pytest.mark.parametrize("answer", ["value", "error"])
async def test_an_answer_after_the_cut_off_is_too_late(answer: str):
    async def stubborn(task_input: Any, ctx: TaskContext) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if answer == "error":
                raise ValueError("interrupted") from None
        return "late"

    result = await perform(stubborn, timeout_s=0.01)

    assert error_of(result)[0] == "TaskTimedOut"


async def test_an_agents_own_time_out_is_its_own_error():
    async def impatient(task_input: Any, ctx: TaskContext) -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    assert error_of(await perform(impatient, timeout_s=60))[0] == "TimeoutError"


async def test_a_task_without_a_time_out_has_its_agents():
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=hang, timeout_s=0.01)

    result = await orchestrator.execute_task(Task("t", "x"))

    assert error_of(result)[0] == "TaskTimedOut"


# Retries.


class Failing:
    """Fails with each of the errors in turn, then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.attempts: list[int] = []

    async def __call__(self, task_input: Any, ctx: TaskContext) -> str:
        self.attempts.append(ctx.attempt)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_a_failure_is_tried_again_until_it_succeeds():
    agent = Failing(ValueError("one"), OSError("two"))

    result = await perform(agent, retry=AT_ONCE)

    assert (result.state, result.output, result.attempts) == ("succeeded", "done", 3)
    assert agent.attempts == [1, 2, 3]


async def test_the_last_failure_is_the_one_reported():
    result = await perform(Failing(*(ValueError(str(n)) for n in range(9))), retry=AT_ONCE)

    assert error_of(result) == ("ValueError", "2")
    assert result.attempts == 3


async def test_without_a_policy_there_is_one_attempt():
    agent = Failing(ValueError("one"))

    result = await perform(agent)

    assert error_of(result) == ("ValueError", "one")
    assert agent.attempts == [1]


@pytest.mark.parametrize("error", [StepFailed("for good"), Misuse("wrong"), ArtifactError("gone")])
async def test_what_cannot_get_better_is_not_tried_again(error: Exception):
    agent = Failing(error)

    result = await perform(agent, retry=AT_ONCE)

    assert error_of(result) == (type(error).__name__, str(error))
    assert agent.attempts == [1]


async def test_a_time_out_is_tried_again_with_its_full_time():
    deadlines = []

    async def slow_once(task_input: Any, ctx: TaskContext) -> None:
        deadlines.append(ctx.deadline)
        if ctx.attempt == 1:
            await asyncio.Event().wait()

    result = await perform(slow_once, timeout_s=0.05, retry=AT_ONCE)

    assert result.state == "succeeded"
    assert len(set(deadlines)) == 2


async def test_the_waits_are_drawn_between_nothing_and_a_doubling_limit(monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("coterie.attempt.asyncio.sleep", note)
    for _ in range(30):
        await perform(Failing(*(ValueError() for _ in range(5))), retry=Retry(max_attempts=6, base_s=1, cap_s=4))

    for number, limit in enumerate([1, 2, 4, 4, 4]):
        drawn = waits[number::5]
        assert len(drawn) == 30
        assert all(0 <= wait <= limit for wait in drawn)
        assert max(drawn) - min(drawn) > limit / 4


async def test_no_slot_is_held_while_waiting_for_another_attempt(monkeypatch: pytest.MonkeyPatch):
    orchestrator = Orchestrator()
    in_use: list[int] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        in_use.append(orchestrator.get_status().agents[0].in_use)
        await sleep(0)

    monkeypatch.setattr("coterie.attempt.asyncio.sleep", note)
    orchestrator.register_agent("a", "x", 1, handler=Failing(ValueError()), retry=AT_ONCE)

    await orchestrator.execute_task(Task("t", "x"))

    assert in_use == [0]


@pytest.mark.parametrize("asked", ["30", math.inf, [1]])
async def test_a_wait_that_is_none_is_not_asked_for(asked: object):
    class BusyError(Exception):
        retry_after_s = asked

    async def busy(task_input: Any, ctx: TaskContext) -> None:
        raise BusyError

    async with asyncio.timeout(10):
        result = await perform(busy, retry=AT_ONCE)

    assert error_of(result)[0] == "BusyError"
    assert result.attempts == 3


async def test_items_are_tried_again_one_by_one():
    tries: dict[Any, int] = {}

    async def flaky(task_input: dict[str, Any], ctx: TaskContext) -> int:
        tries[ctx.item] = tries.get(ctx.item, 0) + 1
        if ctx.item == "b" and ctx.attempt < 3:
            raise ValueError
        return ctx.attempt

    result = await perform(flaky, foreach=ForEach(items=["a", "b", "c"]), retry=AT_ONCE)

    assert result.output == [1, 3, 1]
    assert tries == {"a": 1, "b": 3, "c": 1}


# What an agent may raise.


@pytest.mark.parametrize(
    "error", [SystemExit(3), asyncio.CancelledError(), StopAsyncIteration(), ExceptionGroup("two", [ValueError()])]
)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_agent_that_raises_something_odd_has_failed(error: BaseException, kind: str):
    async def odd(task_input: Any, ctx: TaskContext) -> None:
        raise error

    def odd_in_a_thread(task_input: Any) -> None:
        raise error

    result = await perform(odd if kind == "async" else odd_in_a_thread)

    assert error_of(result)[0] == type(error).__name__


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, BaseException])
@pytest.mark.parametrize("foreach", [None, ForEach(items=[1, 2])])
def test_a_signal_to_the_whole_program_ends_the_run_and_goes_on(error: type[BaseException], foreach: Any):
    cleaned: list[str] = []

    async def neighbour(task_input: Any, ctx: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(ctx.task_id)

    async def interrupted(task_input: Any, ctx: TaskContext) -> None:
        await asyncio.sleep(0)
        raise error

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=interrupted)
    orchestrator.register_agent("n", "n", 1, handler=neighbour)

    with pytest.raises((error, BaseExceptionGroup)):
        asyncio.run(orchestrator.execute_workflow([Task("n", "n"), Task("t", "x", foreach=foreach)]))

    assert cleaned == ["n"]
    assert {agent.in_use for agent in orchestrator.get_status().agents} == {0}


async def test_a_generator_in_a_thread_that_stops_early_has_failed():
    def stops(task_input: Any) -> Any:
        return next(iter([]))

    assert error_of(await perform(stops))[0] == "RuntimeError"


async def test_a_long_message_is_cut():
    async def talkative(task_input: Any, ctx: TaskContext) -> None:
        raise ValueError("x" * 10_000)

    assert len(error_of(await perform(talkative))[1]) == 300
