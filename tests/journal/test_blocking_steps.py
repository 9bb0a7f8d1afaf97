"""Steps of agents that are plain functions, each in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from coterie import Agent, Orchestrator, Task, Team
from coterie.errors import LeaseLost
from coterie.journal import Journal
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.sync import TaskContext as BlockingContext
from coterie.task import Retry
from tests.journal.bench import RUN_ID
from tests.journal.script import LATER, TASK


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
