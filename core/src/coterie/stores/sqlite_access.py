"""How a store comes by its SQLite file: through one thread, with patience, across forks, until it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from coterie._rules.timeline import SECOND
from coterie.clock import Clock
from coterie.errors import Misuse, Unavailable
from coterie.stores.scopes import closed
from coterie.stores.sqlite_thread import Job, StoreThread, Tables, Transaction, Work

__all__ = ["Access", "clock_us"]

T = TypeVar("T")
Tr = TypeVar("Tr", bound=Transaction)

_CLOSING_S = 5.0
# Those that a forked child must not go on using.
_open: weakref.WeakSet[Access[Any]] = weakref.WeakSet()
# A connection must not even be closed by a process that was forked after it was opened.
_inherited: list[StoreThread[Any]] = []


class Access(Generic[Tr]):
    """One store's way to what it keeps in a file. Its thread is started by the first use.

    patience_s: after that long without an answer a call raises `Unavailable`.

    A forked child may go on: it begins with a thread, and a connection, of its own.

    Raises:
        Misuse: the path is relative, or there is no patience.
    """

    def __init__(self, path: Path, tables: Tables[Tr], *, patience_s: float) -> None:
        self._kind = tables.form.kind
        if not path.is_absolute():
            raise Misuse(f"the {self._kind} database {str(path)!r} is a relative path; give an absolute one")
        if not patience_s > 0:
            raise Misuse(f"patience_s={patience_s!r} leaves no time to answer; give seconds > 0")
        self._path = path
        self._tables = tables
        self._patience_s = patience_s
        self._thread: StoreThread[Tr] | None = None
        self.closed = False
        _open.add(self)

    def check_open(self) -> None:
        """Return if it is not closed.

        Raises:
            Misuse: it is.
        """
        if self.closed:
            raise closed(self._kind)

    async def done(self, work: Work[Tr, T], *, writes: bool = False) -> T:
        """Have the thread do it, and wait no longer than patience lasts.

        writes: whether it may change anything; a work that does not waits for nobody's lock.
        """
        self.check_open()
        job = Job(work, writes=writes, until_s=time.monotonic() + self._patience_s)
        expiry = job.loop.call_later(self._patience_s, self._expire, job)
        self._working().submit(job)
        try:
            return await job.future
        finally:
            expiry.cancel()

    async def removed(self, remove: Work[Tr, bool], clear: Work[Tr, bool]) -> bool:
        """Have something removed: at once for all who look for it, then what belonged to it, some at a time.

        remove: whether it was there. clear: whether anything is left to be cleared.
        """
        found = await self.done(remove, writes=True)
        # Also what others began to remove, and did not end.
        while found and await self.done(clear, writes=True):
            pass
        return found

    async def aclose(self) -> None:
        """End what was begun, within 5 s, and release the file. Safe to call twice."""
        if self.closed:
            return
        self.closed = True
        _open.discard(self)
        if self._thread is not None:
            await _ended(self._thread)

    def _expire(self, job: Job[Tr, T]) -> None:
        if not job.future.done():
            job.future.set_exception(
                Unavailable(
                    f"the {self._kind} database {str(self._path)!r} did not answer within {self._patience_s:g} s; "
                    "look for a process that holds it and is stopped or hangs, or give a larger patience_s"
                )
            )

    def _working(self) -> StoreThread[Tr]:
        if self._thread is None:
            self._thread = StoreThread(self._path, self._tables)
            # A store that is dropped without being closed takes its thread along.
            weakref.finalize(self, self._thread.stop).atexit = False
        return self._thread

    def before_fork(self) -> None:
        """Keep the thread from working."""
        if self._thread is not None:
            self._thread.pause()

    def after_fork(self, *, in_child: bool) -> None:
        """Let it go on, or, in the child, begin anew."""
        thread = self._thread
        if in_child:
            if thread is not None:
                _inherited.append(thread)
            self._thread = None
            self._tables.inherited()
        elif thread is not None:
            thread.go_on()


def clock_us(clock: Clock | None) -> Callable[[], int]:
    """A wall clock, this machine's if none is given, in microseconds."""
    return (lambda: time.time_ns() // 1000) if clock is None else (lambda: round(clock.now() * SECOND))


async def _ended(thread: StoreThread[Any]) -> None:
    """Let the thread finish what it was given; a thread that hangs is left behind."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def tell() -> None:
        # A loop that is closed waits no more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, ended)

    thread.stop(tell)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSING_S):
            await ended


def _resolve(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _before_fork() -> None:
    for access in tuple(_open):
        access.before_fork()


def _after_fork(*, in_child: bool) -> None:
    for access in tuple(_open):
        access.after_fork(in_child=in_child)


os.register_at_fork(
    before=_before_fork,
    after_in_parent=partial(_after_fork, in_child=False),
    after_in_child=partial(_after_fork, in_child=True),
)
