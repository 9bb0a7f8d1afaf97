"""The background event loop of a process, in a thread of its own, and how work gets there and its result back."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from coterie.errors import Misuse

__all__ = ["begin", "run"]

T = TypeVar("T")

# How long an interrupted caller waits for its work to end: a command agent has its children killed meanwhile.
CANCEL_GRACE_S = 15.0

_lock = threading.Lock()
_portal: _Portal | None = None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` in this process's background loop and return its result.

    Interrupted (Ctrl-C, a scheduler's time-out), the work is cancelled and waited for before the interruption
    goes on.

    Raises:
        Misuse: the calling thread runs an event loop; await instead.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _get_portal().run(work)
    work.close()
    raise Misuse("coterie.sync was called inside a running event loop, which it would block; await instead")


def begin(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start `work` in this process's background loop, with this thread's context variables, and do not wait.

    Unlike `run` it may be called where an event loop runs. Cancelling what it returns does not end the work.
    """
    return _get_portal().begin(work)


class _Portal:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._ended = False
        self._thread = threading.Thread(target=self._serve, name="coterie-sync", daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` there."""
        call = _Call(work, self._loop)
        self._loop.call_soon_threadsafe(call.start, context=copy_context())
        return call.future

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` there, with this thread's context variables; cancel it there if this thread is interrupted."""
        call = _Call(work, self._loop)
        try:
            # In here too: an interruption may strike as soon as the work is on its way.
            self._loop.call_soon_threadsafe(call.start, context=copy_context())
            return call.future.result()
        except BaseException:
            call.cancel_and_wait(CANCEL_GRACE_S)
            raise

    def close(self) -> None:
        """Stop the loop."""
        if self.pid == os.getpid() and self._thread.is_alive():
            self._ended = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=1.0)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._ended:
            # Raised by a task, these leave the loop as well; whoever awaits the task has them, everybody else goes on.
            with suppress(KeyboardInterrupt, SystemExit):
                self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def _get_portal() -> _Portal:
    global _portal  # noqa: PLW0603
    with _lock:
        # After a fork the thread is gone: schedulers fork, so the process id decides.
        if _portal is None or _portal.pid != os.getpid():
            _portal = _Portal()
            atexit.register(_portal.close)
        return _portal


def _renew_lock() -> None:
    # Another thread may have held it when this process was forked; here nobody would ever release it.
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class _Call(Generic[T]):
    """One piece of work on its way through the background loop."""

    def __init__(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self.future: Future[T] = Future()
        self._work = work
        self._loop = loop
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """In the loop: begin."""
        self._task = self._loop.create_task(self._settle())
        self._task.add_done_callback(self._close)

    def cancel_and_wait(self, grace_s: float) -> None:
        """In the calling thread: have the work cancelled, and wait for its end, but not for ever."""
        if not self.future.done():
            self._loop.call_soon_threadsafe(self._cancel)
            wait([self.future], timeout=grace_s)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self._close()

    async def _settle(self) -> None:
        with suppress(InvalidStateError):  # It was cancelled: nobody waits for an answer.
            try:
                self.future.set_result(await self._work)
            # Also SystemExit and its like: they belong to the caller; left here they would end the loop's thread.
            except BaseException as error:  # noqa: BLE001
                self.future.set_exception(error)

    def _close(self, _: asyncio.Task[None] | None = None) -> None:
        # Cancelled before its first step, the work never ran: nobody else answers the caller.
        if not self.future.done():
            self._work.close()
            self.future.set_exception(asyncio.CancelledError())
