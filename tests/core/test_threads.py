"""Agents that are plain functions run in threads: beside each other, never holding the event loop or the exit."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from typing import Any

import pytest

from coterie import ForEach, Orchestrator, Retry, Task, TaskContext, sync
from coterie.errors import MissingOutput


def with_agent(handler: Any, capacity: int = 1, **policies: Any) -> Orchestrator:
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", capacity, handler=handler, **policies)
    return orchestrator


def in_use(orchestrator: Orchestrator) -> int:
    return sum(agent.in_use for agent in orchestrator.get_status().agents)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_plain_functions_run_beside_each_other():
    meeting = threading.Barrier(3, timeout=20)

    def meet(task_input: Any) -> str:
        meeting.wait()
        return threading.current_thread().name

    result = await with_agent(meet, 3).execute_workflow([Task(f"t{n}", "x") for n in range(3)])

    assert result.status == "succeeded"
    assert {one.output for one in result} == {"coterie-meet"}


async def test_a_plain_function_sees_the_context_of_its_task():
    request = contextvars.ContextVar("request", default="none")
    request.set("of the caller")

    def see(task_input: dict[str, Any], ctx: sync.TaskContext) -> list[Any]:
        return [request.get(), ctx.task_id, ctx.item, ctx.attempt, task_input["item"]]

    result = await with_agent(see).execute_workflow([Task("t", "x", foreach=ForEach(items=["i"]))])

    assert result["t"].output == [["of the caller", "t", "i", 1, "i"]]


async def test_a_plain_function_reads_the_outputs_before_it():
    def read(task_input: Any, ctx: sync.TaskContext) -> Any:
        if not ctx.upstream:
            return [1, 2]
        with pytest.raises(MissingOutput):
            ctx.output("stranger")
        return [ctx.output("a", tuple[int, int]), [item.state for item in ctx.items("each")]]

    tasks = [Task("a", "x"), Task("each", "x", foreach=ForEach(items=[1])), Task("b", "x", depends_on=["a", "each"])]

    result = await with_agent(read).execute_workflow(tasks)

    assert result["b"].output == [[1, 2], ["succeeded"]]


async def test_a_hanging_function_is_cut_off_and_keeps_its_slot_until_its_thread_ends():
    release = threading.Event()

    def hang(task_input: Any) -> None:
        release.wait(20)

    orchestrator = with_agent(hang)

    result = await orchestrator.execute_task(Task("t", "x", timeout_s=0.01))
    busy = in_use(orchestrator)
    release.set()
    await until(lambda: in_use(orchestrator) == 0)

    assert result.error is not None
    assert result.error.type == "TaskTimedOut"
    assert busy == 1


async def test_a_function_that_outlasts_its_cancelled_run_is_not_said_to_have_timed_out(
    caplog: pytest.LogCaptureFixture,
):
    release, came = threading.Event(), threading.Event()

    def hang(task_input: Any) -> None:
        came.set()
        release.wait(20)

    orchestrator = with_agent(hang)
    run = asyncio.ensure_future(orchestrator.execute_workflow([Task("t", "x")], workflow_id="one"))
    await asyncio.to_thread(came.wait, 20)

    orchestrator.cancel("one")
    result = await run
    release.set()
    await until(lambda: in_use(orchestrator) == 0)

    assert result.status == "cancelled"
    assert "timed out" not in caplog.text


async def test_functions_that_all_hang_do_not_keep_the_other_tasks_from_an_agent():
    release = threading.Event()

    def hang(task_input: Any, ctx: sync.TaskContext) -> str:
        if ctx.item is None or ctx.item < 3:
            release.wait(20)
        return "done"

    orchestrator = with_agent(hang)
    each = Task("each", "x", foreach=ForEach(items=[1, 2, 3, 4], tolerate_failures=2), timeout_s=0.05)

    result = await orchestrator.execute_workflow([each])
    capacity = [agent.capacity for agent in orchestrator.get_status().agents]
    release.set()
    await until(lambda: in_use(orchestrator) == 0)

    assert result["each"].output == ["done", "done"]
    assert capacity == [3]
    assert [agent.capacity for agent in orchestrator.get_status().agents] == [1]


async def test_a_function_that_returns_a_coroutine_is_told_to_be_async():
    async def later(task_input: Any, ctx: Any) -> Any:
        return ctx.output("a")

    def disguised(task_input: Any, ctx: sync.TaskContext) -> Any:
        return later(task_input, ctx) if ctx.upstream else "first"

    result = await with_agent(disguised).execute_workflow([Task("a", "x"), Task("b", "x", depends_on=["a"])])

    assert result["b"].error is not None
    assert result["b"].error.type == "Misuse"
    assert "async def" in result["b"].error.message


async def test_every_abandoned_attempt_gives_its_own_slot_back():
    releases = {number: threading.Event() for number in (1, 2, 3)}
    order: list[int] = []

    def hang(task_input: Any, ctx: sync.TaskContext) -> None:
        number = ctx.attempt
        releases[number].wait(20)
        order.append(number)

    orchestrator = with_agent(hang, 3, timeout_s=0.02, retry=Retry(max_attempts=3, base_s=0, cap_s=0))

    result = await orchestrator.execute_task(Task("t", "x"))
    busy = [in_use(orchestrator)]
    for number in (2, 1, 3):
        releases[number].set()
        await until(lambda: in_use(orchestrator) < busy[-1])
        busy.append(in_use(orchestrator))

    assert result.attempts == 3
    assert busy == [3, 2, 1, 0]
    assert order == [2, 1, 3]


async def test_a_waiting_task_gets_the_slot_when_the_abandoned_thread_ends():
    release = threading.Event()

    def hang_once(task_input: Any, ctx: sync.TaskContext) -> str:
        if ctx.task_id == "a":
            release.wait(20)
        return ctx.task_id

    def told(event: Any) -> None:
        if event.name == "task.finished" and event.task_id == "a":
            release.set()

    orchestrator = Orchestrator(on_event=told)
    orchestrator.register_agent("a", "x", 1, handler=hang_once)

    result = await orchestrator.execute_workflow([Task("a", "x", timeout_s=0.02), Task("b", "x")])

    assert [one.state for one in result] == ["failed", "succeeded"]


async def test_a_cancelled_run_does_not_wait_for_its_threads():
    came, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hang(task_input: Any) -> None:
        loop.call_soon_threadsafe(came.set)
        release.wait(20)

    orchestrator = with_agent(hang)
    run = asyncio.ensure_future(orchestrator.execute_workflow([Task("t", "x")], workflow_id="one"))
    await came.wait()

    orchestrator.cancel("one")
    result = await run

    assert result.status == "cancelled"
    assert in_use(orchestrator) == 1
    release.set()
    await until(lambda: in_use(orchestrator) == 0)


async def test_a_thread_that_cannot_start_costs_no_slot(monkeypatch: pytest.MonkeyPatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    orchestrator = with_agent(lambda task_input: 1)
    monkeypatch.setattr("coterie._threads.threading.Thread.start", refuse)

    result = await orchestrator.execute_task(Task("t", "x"))

    assert result.error is not None
    assert result.error.message == "can't start new thread"
    assert in_use(orchestrator) == 0


async def test_an_async_agent_is_not_run_in_a_thread():
    async def where(task_input: Any, ctx: TaskContext) -> bool:
        return threading.current_thread() is threading.main_thread()

    assert (await with_agent(where).execute_task(Task("t", "x"))).output is True


HANGING_PROGRAM = """
import asyncio, threading
from coterie import Orchestrator, Task

orchestrator = Orchestrator()
orchestrator.register_agent("a", "x", 2, handler=lambda task_input: threading.Event().wait())
result = asyncio.run(orchestrator.execute_workflow([Task("t", "x", timeout_s=0.05), Task("u", "x", timeout_s=0.05)]))
print(*[one.error.type for one in result])
"""


def test_hanging_functions_do_not_hold_up_the_end_of_the_program():
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", HANGING_PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stdout.split()) == (0, ["TaskTimedOut", "TaskTimedOut"])
