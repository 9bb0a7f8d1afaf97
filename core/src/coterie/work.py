"""Background work of a shell: held until it ends, waited for within a bound, ended with its owner, not inherited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

__all__ = ["Work", "tell_of_forks"]

T = TypeVar("T")


class Work:
    """Tasks of one event loop. Those that fail are their awaiter's affair; unawaited, they raise nothing later."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin, and hold on to it: the loop alone would let it be collected."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def within(self, seconds: float, work: Coroutine[Any, Any, object]) -> None:
        """Wait for the work, at most so long. It goes on by itself then, and also when the waiting is cancelled.

        What it raises in time is raised here.
        """
        task = self.start(work)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if done and not task.cancelled():
            task.result()

    async def aclose(self, seconds: float) -> None:
        """Wait for all that runs, cancel what is left after so many seconds, and see it end."""
        own = asyncio.current_task()
        left = {task for task in self._tasks if task is not own}
        if left:
            _, left = await asyncio.wait(left, timeout=seconds)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=seconds)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


class _Forked(Protocol):
    def forked(self) -> None:
        """In the new process: nothing that an event loop held for you goes on."""


_owners: WeakSet[_Forked] = WeakSet()


def tell_of_forks(owner: _Forked) -> None:
    """Have `owner.forked` called in every process that is forked from this one, as long as it lives."""
    _owners.add(owner)


def _after_fork() -> None:
    for owner in tuple(_owners):
        owner.forked()


os.register_at_fork(after_in_child=_after_fork)
