"""Run the compensations of one run, each as soon as the rule allows, and see them all end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from coterie._rules.saga import Next, SagaProgress
from coterie.result import TaskResult

__all__ = ["undo_all"]


async def undo_all(
    progress: SagaProgress, following: Next, perform: Callable[[int], Awaitable[TaskResult]]
) -> dict[int, TaskResult]:
    """Perform compensations until there is none left; how each ended, by the position of its step.

    perform: one of them, retries included. What it raises, as when the journal cannot be reached or an agent not be
    had now, is raised here, after all that run have ended; no others start.

    Cancelled, it ends all that run first.
    """
    ended: dict[int, TaskResult] = {}
    running: dict[asyncio.Task[TaskResult], int] = {}
    ready = list(following.compensations)
    failure: BaseException | None = None
    try:
        while ready or running:
            running |= {asyncio.ensure_future(_awaited(perform(i))): i for i in ready}
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            ready = []
            for task in done:
                i = running.pop(task)
                # Of one that somebody else cancelled, as when all is to stop, this raises as if it were our own.
                error = task.exception()
                if error is not None:
                    failure = failure or error
                    continue
                ended[i] = result = task.result()
                ready += progress.undone(i, "done" if result.state == "succeeded" else "failed").compensations
            if failure is not None:
                ready = []
    except asyncio.CancelledError:
        await _end(list(running))
        raise
    if failure is not None:
        raise failure
    return ended


async def _awaited(work: Awaitable[TaskResult]) -> TaskResult:
    return await work


async def _end(running: list[asyncio.Task[TaskResult]]) -> None:
    for task in running:
        task.cancel()
    while any(not task.done() for task in running):
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError:
            # Cancelled once more while the agents clean up: they are told, and still waited for.
            for task in running:
                task.cancel()
