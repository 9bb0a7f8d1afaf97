"""`coterie.TaskContext` for agents that cannot await: they run in a thread, and wait for the loop that started it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from coterie.errors import LeaseLost, Misuse
from coterie.ids import TaskId
from coterie.result import ItemResult
from coterie.sync.artifacts import ArtifactStore

if TYPE_CHECKING:
    from coterie import context

__all__ = ["TaskContext"]

T = TypeVar("T")


class TaskContext:
    """`coterie.TaskContext` for an agent that is a plain function: the same names, blocking."""

    def __init__(self, wrapped: context.TaskContext, loop: asyncio.AbstractEventLoop) -> None:
        self._wrapped = wrapped
        self._loop = loop
        self._attempt = wrapped.attempt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    @property
    def artifacts(self) -> ArtifactStore | None:
        """The run's artifact store, blocking, if it has one."""
        store = self._wrapped.artifacts
        return None if store is None else ArtifactStore(store)

    def output(self, task_id: TaskId, type_: Any = None) -> Any:
        """See `coterie.TaskContext.output`."""
        return self._wait(self._wrapped.output(task_id, type_))

    def items(self, task_id: TaskId) -> list[ItemResult]:
        """See `coterie.TaskContext.items`."""
        return self._wait(self._wrapped.items(task_id))

    def publish(self, *event: Any, **fields: Any) -> Any:
        """See `coterie.TaskContext.publish`."""
        return self._wait(self._wrapped.publish(*event, **fields))

    def step(
        self,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        key: str | None = None,
        version: str = "0",
        type_: Any = None,
    ) -> Any:
        """See `coterie.TaskContext.step`; the function is called in this thread.

        Raises:
            LeaseLost: this attempt was cut off, and another is at the work.
        """
        from coterie.journal.steps import StepCall, typed

        if self._attempt != self._wrapped.attempt:
            # Nobody could stop this thread; the next attempt must not find steps of its own begun by it.
            raise LeaseLost(
                f"the attempt {self._attempt} at {self._wrapped.task_id!r} was cut off; stop: another is at it"
            )
        with StepCall(self._wrapped, name, arguments, key=key, version=version) as call:
            found = self._wait(call.recall())
            value = found[0] if found is not None else self._wait(call.keep(function(*arguments)))
        return typed(value, type_)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if _runs_here(self._loop):
            work.close()
            raise Misuse(
                f"an agent of {self._wrapped.task.agent_type!r} is a plain function that returned a coroutine, which "
                "would block the event loop it waits for; declare the function with `async def`"
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
