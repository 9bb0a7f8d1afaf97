"""Shutting down: what is at work may finish and counts, nothing begins, and what is left is handed back."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from coterie import (
    Agent,
    Approval,
    Approvals,
    ForEach,
    Orchestrator,
    Plan,
    Policies,
    Quota,
    Retry,
    Runtime,
    Task,
    TaskContext,
    Team,
    WorkflowResult,
    sync,
)
from coterie.errors import Misuse, PolicyError
from coterie.journal.view import view_run
from coterie.stores.memory import MemoryStateStore

LONG_S = 600.0


class Desk:
    """Agents that begin, and end when they are told to; by task id."""

    def __init__(self) -> None:
        self.came: dict[str, asyncio.Event] = {}
        self.go: dict[str, asyncio.Event] = {}
        self.ended: list[str] = []

    def event(self, of: dict[str, asyncio.Event], name: str) -> asyncio.Event:
        return of.setdefault(name, asyncio.Event())

    async def __call__(self, task_input: Any, ctx: TaskContext) -> str:
        name = ctx.task_id if ctx.item is None else f"{ctx.task_id}/{ctx.item}"
        self.event(self.came, name).set()
        await self.event(self.go, name).wait()
        self.ended.append(name)
        return name

    async def at_work(self, *names: str) -> None:
        for name in names:
            await self.event(self.came, name).wait()

    def finish(self, name: str) -> None:
        self.event(self.go, name).set()


def with_desk(capacity: int = 2, **options: Any) -> tuple[Orchestrator, Desk]:
    desk = Desk()
    orchestrator = Orchestrator(**options)
    orchestrator.register_agent("a", "x", capacity, handler=desk)
    return orchestrator, desk


def states(result: WorkflowResult) -> dict[str, str]:
    return {one.task_id: one.state for one in result}


def closed(orchestrator: Orchestrator) -> None:
    """Wait until nothing begins any more."""
    while not orchestrator._slots.of("x", task_id="any").closed:
        time.sleep(0.001)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_what_is_at_work_finishes_and_nothing_begins():
    orchestrator, desk = with_desk()
    tasks = [Task("short", "x"), Task("next", "x", depends_on=["short"]), Task("long", "x"), Task("queued", "x")]
    running = asyncio.ensure_future(orchestrator.execute_workflow(tasks))
    await desk.at_work("short", "long")

    stopping = asyncio.ensure_future(orchestrator.shut_down(timeout_s=LONG_S))
    await turns()
    desk.finish("short")
    await turns()
    desk.finish("long")
    await stopping
    result = await running

    assert states(result) == {"short": "succeeded", "next": "cancelled", "long": "succeeded", "queued": "cancelled"}
    assert (result.status, result.exit_code) == ("cancelled", 130)
    assert desk.ended == ["short", "long"]


async def test_a_run_of_which_nothing_is_left_to_do_ends_well():
    orchestrator, desk = with_desk()
    running = asyncio.ensure_future(orchestrator.execute_workflow([Task("only", "x")]))
    await desk.at_work("only")

    stopping = asyncio.ensure_future(orchestrator.shut_down(timeout_s=LONG_S))
    await turns()
    desk.finish("only")
    await stopping

    assert (await running).status == "succeeded"


async def test_what_is_not_done_in_time_is_cancelled():
    orchestrator, desk = with_desk()
    running = asyncio.ensure_future(orchestrator.execute_workflow([Task("long", "x")]))
    await desk.at_work("long")

    await orchestrator.shut_down(timeout_s=0)

    assert states(await running) == {"long": "cancelled"}
    assert not any(agent.in_use for agent in orchestrator.get_status().agents)


async def test_stop_cuts_the_time_short():
    orchestrator, desk = with_desk()
    running = asyncio.ensure_future(orchestrator.execute_workflow([Task("long", "x")]))
    await desk.at_work("long")
    stopping = asyncio.ensure_future(orchestrator.shut_down(timeout_s=LONG_S))
    await turns()

    await orchestrator.stop(grace_s=LONG_S)
    await stopping

    assert (await running).status == "cancelled"


async def test_of_a_foreach_the_items_at_work_finish_and_the_rest_never_begins():
    orchestrator, desk = with_desk(capacity=2)
    task = Task("each", "x", foreach=ForEach(items=[1, 2, 3]))
    running = asyncio.ensure_future(orchestrator.execute_task(task))
    await desk.at_work("each/1", "each/2")

    stopping = asyncio.ensure_future(orchestrator.shut_down(timeout_s=LONG_S))
    await turns()
    desk.finish("each/1")
    await turns()
    desk.finish("each/2")
    await stopping
    await asyncio.wait([running])

    assert running.cancelled()
    assert desk.ended == ["each/1", "each/2"]


async def test_a_foreach_that_is_done_is_gathered():
    orchestrator, desk = with_desk(capacity=2)
    task = Task("each", "x", foreach=ForEach(items=[1, 2]))
    running = asyncio.ensure_future(orchestrator.execute_task(task))
    await desk.at_work("each/1", "each/2")

    stopping = asyncio.ensure_future(orchestrator.shut_down(timeout_s=LONG_S))
    await turns()
    desk.finish("each/1")
    desk.finish("each/2")
    await stopping

    assert (await running).output == ["each/1", "each/2"]


async def test_a_failure_is_not_tried_again():
    calls: list[int] = []
    came, go = asyncio.Event(), asyncio.Event()

    async def flaky(task_input: Any, ctx: TaskContext) -> None:
        calls.append(ctx.attempt)
        came.set()
        await go.wait()
        raise ConnectionError("away")

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", handler=flaky, retry=Retry(max_attempts=3, base_s=0.0))
    running = asyncio.ensure_future(orchestrator.execute_workflow([Task("one", "x")]))
    await came.wait()

    stopping = asyncio.ensure_future(orchestrator.shut_down(timeout_s=LONG_S))
    await turns()
    go.set()
    await stopping

    assert states(await running) == {"one": "cancelled"}
    assert calls == [1]


async def test_who_waits_at_a_gate_is_not_waited_for_and_calls_nobody():
    one = Quota(rate_per_s=1 / 500, burst=1)
    team, calls = (
        Team("paced", policies={"x": Policies(limits={"requests": one}, max_hold_s=LONG_S, max_wait_s=LONG_S)}),
        [],
    )
    done = asyncio.Event()

    @team.agent("x", capacity=2)
    async def work(task_input: Any, ctx: TaskContext) -> None:
        calls.append(ctx.task_id)
        done.set()

    async with Runtime(team, store="memory://") as runtime:
        tasks = [Task("first", "x"), Task("held", "x")]
        running = asyncio.ensure_future(runtime.orchestrator.execute_workflow(tasks))
        await done.wait()

        await runtime.orchestrator.shut_down(timeout_s=LONG_S)

        assert states(await running) == {"first": "succeeded", "held": "cancelled"}
        assert calls == ["first"]


def test_so_does_what_is_performed_without_awaiting():
    came, go = threading.Event(), threading.Event()

    def work(task_input: Any, ctx: Any) -> str:
        came.set()
        go.wait()
        return str(ctx.task_id)

    inner = Orchestrator()
    inner.register_agent("a", "x", handler=work)
    orchestrator = sync.Orchestrator(inner)
    stopping = threading.Thread(target=lambda: (came.wait(), orchestrator.shut_down(timeout_s=LONG_S)))
    watching = threading.Thread(target=lambda: (closed(inner), go.set()))
    stopping.start()
    watching.start()

    result = orchestrator.execute_workflow([Task("first", "x"), Task("second", "x")])
    stopping.join()
    watching.join()

    assert states(result) == {"first": "succeeded", "second": "cancelled"}


async def test_nothing_begins_afterwards():
    orchestrator, _ = with_desk()

    await orchestrator.shut_down()

    with pytest.raises(asyncio.CancelledError):
        await orchestrator.execute_task(Task("late", "x"))
    with pytest.raises(asyncio.CancelledError):
        await orchestrator.execute_workflow([Task("late", "x")])


def test_the_environment_says_how_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S", raising=False)
    default = Runtime().orchestrator.graceful_shutdown_timeout_s
    monkeypatch.setenv("COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S", "2.5")

    assert default == 10.0
    assert Runtime().orchestrator.graceful_shutdown_timeout_s == 2.5
    assert Runtime(graceful_shutdown_timeout_s=4).orchestrator.graceful_shutdown_timeout_s == 4.0


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "inf"])
def test_what_is_no_time_is_refused_by_name(given: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S", given)

    with pytest.raises(PolicyError, match="COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S"):
        Runtime()
    with pytest.raises(PolicyError, match="graceful_shutdown_timeout_s is -1"):
        Orchestrator(graceful_shutdown_timeout_s=-1)


async def test_a_runtime_whose_closing_is_cut_short_closes_its_stores_all_the_same(tmp_path: Path):
    came, go = asyncio.Event(), asyncio.Event()

    async def stubborn(task_input: Any) -> None:
        came.set()
        while not go.is_set():
            with suppress(asyncio.CancelledError):
                await go.wait()

    team = Team("desk", [Agent("a", "x", stubborn)])
    runtime = Runtime(team, store=f"sqlite://{tmp_path}/state.db", journal=True)
    run = asyncio.create_task(runtime.orchestrator.execute_workflow([Task("a", "x")]))
    await came.wait()

    closing = asyncio.create_task(runtime.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    go.set()
    await asyncio.wait([run])

    assert closing.cancelled()
    assert runtime.journal is not None
    with pytest.raises(Misuse, match="closed"):
        await runtime.journal.header("run")
    assert isinstance(run.exception(), Misuse), "its end could not be recorded any more"


async def test_a_journal_beside_an_open_store_is_refused_and_not_laid_elsewhere():
    store = MemoryStateStore()

    with pytest.raises(Misuse, match="give the journal or its URL"):
        Runtime(store=store, journal=True)
    await store.aclose()


async def test_a_runtime_that_is_closed_hands_back_the_run_that_waits_in_it(tmp_path: Path):
    journal = f"sqlite://{tmp_path}/state.db"
    plan = Plan("signed", [Task("sign", "boss", approval=Approval("Sign?"))])

    async with Runtime(Team("desk"), journal=journal) as runtime:
        assert runtime.journal is not None
        run = asyncio.create_task(runtime.orchestrator.execute_workflow(plan, workflow_id="r"))
        async with asyncio.timeout(20):
            while not await Approvals(runtime.journal).pending():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    assert (await run).status == "cancelled"
    async with Runtime(Team("desk"), journal=journal) as later:
        assert later.journal is not None
        left = await view_run(later.journal, "r")
    assert (left.state, left.claim) == ("cancelled", None)
