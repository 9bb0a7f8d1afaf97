"""Stopping: a run, its caller, its agents; what was started is ended, and every slot comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie import Agent, Event, ForEach, Orchestrator, Plan, Retry, Runtime, Task, TaskContext, Team, When
from coterie.errors import Misuse, WorkTakenOver
from coterie.journal import Journal
from coterie.stores.journal_memory import MemoryJournalStore


class Held:
    """An agent that waits for ever, and says when it came and when it was stopped."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.stopped: list[str] = []

    async def __call__(self, task_input: Any, ctx: TaskContext) -> None:
        self.came.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.append(ctx.task_id)


def with_agent(handler: Any, capacity: int = 1) -> Orchestrator:
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", capacity, handler=handler)
    return orchestrator


def in_use(orchestrator: Orchestrator) -> int:
    return sum(agent.in_use for agent in orchestrator.get_status().agents)


TASKS = [
    Task("running", "x"),
    Task("queued", "x"),
    Task("later", "x", depends_on=["running"], trigger_rule="all_done"),
    Task("each", "x", foreach=ForEach(items=[1, 2])),
    Task("maybe", "x", when=When("running")),
]


async def test_a_cancelled_run_says_so():
    held = Held()
    orchestrator = with_agent(held)
    run = asyncio.ensure_future(orchestrator.execute_workflow(TASKS, workflow_id="one"))
    await held.came.wait()

    orchestrator.cancel("one")
    result = await run

    assert {one.task_id: one.state for one in result} == {task.id: "cancelled" for task in TASKS}
    assert (result.status, result.exit_code) == ("cancelled", 130)
    assert held.stopped == ["running"]
    assert in_use(orchestrator) == 0
    assert orchestrator.get_status().runs == ()


async def test_what_had_ended_before_the_cancellation_keeps_its_result():
    held = Held()

    async def quick(task_input: Any, ctx: TaskContext) -> int:
        return 1

    orchestrator = with_agent(held)
    orchestrator.register_agent("q", "quick", 1, handler=quick)
    tasks = [Task("a", "quick"), Task("b", "x", depends_on=["a"])]
    run = asyncio.ensure_future(orchestrator.execute_workflow(tasks, workflow_id="one"))
    await held.came.wait()

    orchestrator.cancel("one")
    result = await run

    assert (result["a"].state, result["a"].output) == ("succeeded", 1)
    assert result["b"].state == "cancelled"
    assert result.status == "cancelled"


@pytest.mark.parametrize(
    "task", [Task("t", "x"), Task("t", "x", foreach=ForEach(items=[1])), Task("t", "x", when=When("t2"))]
)
async def test_a_run_can_be_cancelled_before_its_first_task_has_begun(task: Task):
    def cancel_soon(event: Event) -> None:
        if event.name == "run.started":
            asyncio.get_running_loop().call_soon(orchestrator.cancel, "one")

    orchestrator = Orchestrator(on_event=cancel_soon)
    orchestrator.register_agent("a", "x", 1, handler=Held())

    async with asyncio.timeout(10):
        result = await orchestrator.execute_workflow([task, Task("t2", "x")], workflow_id="one")

    assert result.status == "cancelled"
    assert in_use(orchestrator) == 0


async def test_cancelling_twice_is_cancelling_once():
    held = Held()
    orchestrator = with_agent(held)
    run = asyncio.ensure_future(orchestrator.execute_workflow(TASKS, workflow_id="one"))
    await held.came.wait()

    orchestrator.cancel("one")
    orchestrator.cancel("one")

    assert (await run).status == "cancelled"


async def test_an_unknown_run_cannot_be_cancelled():
    with pytest.raises(Misuse, match="no run 'gone' is in progress here; in progress: none"):
        with_agent(Held()).cancel("gone")


async def test_another_run_is_not_touched():
    held, other = Held(), Held()
    orchestrator = with_agent(held)
    orchestrator.register_agent("o", "other", 1, handler=other)
    one = asyncio.ensure_future(orchestrator.execute_workflow([Task("t", "x")], workflow_id="one"))
    two = asyncio.ensure_future(orchestrator.execute_workflow([Task("t", "other"), Task("u", "x")], workflow_id="two"))
    await held.came.wait()
    await other.came.wait()

    held.came.clear()
    orchestrator.cancel("one")
    await one
    await held.came.wait()

    assert other.stopped == []
    assert [run.workflow_id for run in orchestrator.get_status().runs] == ["two"]
    orchestrator.cancel("two")
    await two


async def test_a_cancelled_caller_gets_its_cancellation_after_every_agent_has_ended():
    held = Held()
    orchestrator = with_agent(held, capacity=3)
    run = asyncio.ensure_future(orchestrator.execute_workflow(TASKS))
    await held.came.wait()

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert sorted(held.stopped) == ["each", "queued", "running"]
    assert in_use(orchestrator) == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_impatient_caller_does_not_outrun_the_clean_up():
    cleaning, may_end, ended = asyncio.Event(), asyncio.Event(), []

    async def careful(task_input: Any, ctx: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    ended.append("told again")
            ended.append("clean")

    orchestrator = with_agent(careful)
    run = asyncio.ensure_future(orchestrator.execute_workflow([Task("t", "x")]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    run.cancel()
    await cleaning.wait()

    run.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not run.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert ended[-1] == "clean"
    assert "told again" in ended


async def test_a_cancelled_task_is_not_tried_again_whatever_its_agent_makes_of_it():
    came, attempts = asyncio.Event(), []

    async def translates(task_input: Any, ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        came.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("interrupted") from None

    orchestrator = with_agent(translates)
    task = Task("t", "x", retry=Retry(max_attempts=5, base_s=0, cap_s=0))
    run = asyncio.ensure_future(orchestrator.execute_workflow([task], workflow_id="one"))
    await came.wait()

    orchestrator.cancel("one")
    result = await run

    assert result["t"].state == "cancelled"
    assert attempts == [1]


async def test_a_task_that_waits_for_another_attempt_stops_waiting(monkeypatch: pytest.MonkeyPatch):
    waiting = asyncio.Event()

    async def wait_for_ever(seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def fails(task_input: Any, ctx: TaskContext) -> None:
        raise ConnectionError

    monkeypatch.setattr("coterie.attempt.asyncio.sleep", wait_for_ever)
    orchestrator = with_agent(fails)
    run = asyncio.ensure_future(orchestrator.execute_workflow([Task("t", "x", retry=Retry())], workflow_id="one"))
    await waiting.wait()

    orchestrator.cancel("one")

    assert (await run)["t"].state == "cancelled"
    assert in_use(orchestrator) == 0


async def test_an_agent_that_ignores_cancellation_is_waited_for_and_keeps_its_slot_till_then():
    came, may_end = asyncio.Event(), asyncio.Event()

    async def ignores(task_input: Any, ctx: TaskContext) -> str:
        came.set()
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue
        return "done all the same"

    orchestrator = with_agent(ignores)
    run = asyncio.ensure_future(orchestrator.execute_workflow([Task("t", "x"), Task("u", "x")], workflow_id="one"))
    await came.wait()

    orchestrator.cancel("one")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not run.done()
    assert in_use(orchestrator) == 1
    may_end.set()
    result = await run

    assert [one.state for one in result] == ["succeeded", "cancelled"]
    assert result.status == "cancelled"
    assert in_use(orchestrator) == 0


async def test_an_agent_cannot_stop_its_neighbours_by_cancelling_itself():
    async def cancels_itself(task_input: Any, ctx: TaskContext) -> None:
        if ctx.task_id == "t3":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    result = await with_agent(cancels_itself).execute_workflow([Task(f"t{n}", "x") for n in range(8)])

    assert [one.task_id for one in result.failures] == ["t3"]
    assert result.status == "partial"


async def test_closing_the_runtime_stops_what_runs():
    held = Held()
    team = Team("t")
    team.agent("x")(held.__call__)
    async with Runtime(team) as runtime:
        run = asyncio.ensure_future(runtime.orchestrator.execute_workflow([Task("t", "x")]))
        await held.came.wait()

    assert (await run).status == "cancelled"
    with pytest.raises(Misuse, match="this runtime is closed"):
        async with runtime:
            pass


async def test_a_run_that_breaks_as_a_task_begins_that_a_worker_has_ends_all_the_same():
    store, begun = MemoryJournalStore(), asyncio.Event()

    async def breaks(task_input: Any) -> None:
        raise WorkTakenOver("somebody else has it")

    async def hangs(task_input: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    def process() -> Orchestrator:
        return Orchestrator(Team("t", [Agent("a", "a", breaks), Agent("b", "b", hangs)]), journal=Journal(store))

    plan = Plan("p", [Task("one", "a"), Task("two", "b", depends_on=["one"], trigger_rule="all_done")])
    worker = asyncio.create_task(process().execute_task(plan.tasks[1], workflow_id="run", plan=plan, upstream={}))
    await begun.wait()

    with pytest.raises(WorkTakenOver):
        async with asyncio.timeout(10):
            await process().execute_workflow(plan, workflow_id="run")

    worker.cancel()
    await asyncio.wait({worker})
