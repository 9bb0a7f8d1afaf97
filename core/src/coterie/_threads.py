"""Run blocking functions in daemon threads that a hanging function cannot hold the process with."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

__all__ = ["in_thread", "run_in_thread"]

T = TypeVar("T")


class Watcher(Protocol):
    """Who wants to know which threads still run, also when nobody awaits them any more."""

    def thread_started(self, thread: threading.Thread) -> None:
        """Called in the event loop, once it runs."""

    def thread_ended(self, thread: threading.Thread) -> None:
        """Called in the event loop, after its end."""


class _Nobody:
    """Does not ask whether an abandoned thread still runs."""

    def thread_started(self, thread: threading.Thread) -> None:
        """Look away."""

    def thread_ended(self, thread: threading.Thread) -> None:
        """Look away."""


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """`run_in_thread` for work that ends by itself, or whose end nobody waits for."""
    return await run_in_thread(_Nobody(), work, *args)


async def run_in_thread(watcher: Watcher, work: Callable[..., T], *args: Any) -> T:
    """Await `work(*args)` in a thread of its own, with this task's context variables.

    A thread cannot be stopped: when the awaiting task is cancelled or times out, the thread goes on and is
    abandoned; `watcher` is told when it ends. Being a daemon, it never keeps the interpreter from ending (an
    executor's threads would).
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        watcher.thread_ended(thread)
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # None only where T admits it
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = context.run(work, *args)
        # Handed to the awaiting task, which decides: StopIteration alone cannot enter a future.
        except BaseException as problem:  # noqa: BLE001
            error = RuntimeError(repr(problem)) if isinstance(problem, StopIteration) else problem
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return

    thread = threading.Thread(target=run, daemon=True, name=f"coterie-{getattr(work, '__name__', 'agent')}")
    thread.start()
    watcher.thread_started(thread)
    return await future
