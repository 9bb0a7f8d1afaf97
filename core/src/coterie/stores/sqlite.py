"""State of one machine, in a SQLite file: the default, as every task of a scheduler is a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from coterie._rules.decided import Decide, Signal, State
from coterie._rules.timeline import SECOND, micros
from coterie.clock import Clock
from coterie.errors import Misuse, Unavailable
from coterie.ids import check_name
from coterie.ports import Notice, Scope
from coterie.stores.sqlite_thread import Job, StoreThread, Transaction, Work
from coterie.stores.states import check_channel, check_keep, check_key, check_kind, check_message, from_text, to_text
from coterie.stores.switchboard import Switchboard
from coterie.stores.wakeups import Wakeups

__all__ = ["SqliteStateStore"]

T = TypeVar("T")

_CLOSING_S = 5.0
# Those that a forked child must not go on using.
_open_stores: weakref.WeakSet[SqliteStateStore] = weakref.WeakSet()
# A connection must not even be closed by a process that was forked after it was opened.
_inherited: list[StoreThread] = []


class SqliteStateStore:
    """A `StateStore` for all processes of one machine and one user.

    path: an absolute path, best with a folder of its own; files appear beside it (`-wal`, `-shm`, `.wake/`).
    clock: the wall clock of the machine, if not given.
    patience_s: after that long without an answer a call raises `Unavailable`.

    A crash of a process loses nothing that was acknowledged and leaves no lock; a power cut may lose the last moments
    (`synchronous=NORMAL`). A forked child may go on using the store: it opens its own connection, without the
    subscriptions of its parent. Signals reach other processes in the order in which one process sent them.
    """

    def __init__(
        self, path: str | Path, namespace: str = "default", *, clock: Clock | None = None, patience_s: float = 10.0
    ) -> None:
        self._path = Path(path)
        if not self._path.is_absolute():
            raise Misuse(f"the state database {str(path)!r} is a relative path; give an absolute one")
        self._namespace = check_name(namespace, "the namespace")
        if not patience_s > 0:
            raise Misuse(f"patience_s={patience_s!r} leaves no time to answer; give seconds > 0")
        self._now = _clock_us(clock)
        self._patience_s = patience_s
        self._closed = False
        self._thread: StoreThread | None = None
        self._board = self._new_board()
        _open_stores.add(self)

    def __repr__(self) -> str:
        return f"SqliteStateStore({str(self._path)!r}, {self._namespace!r})"

    @property
    def url(self) -> str:
        """`sqlite://` and the path."""
        return f"sqlite://{self._path}"

    @property
    def scope(self) -> Scope:
        """All processes of this machine."""
        return "machine"

    @property
    def namespace(self) -> str:
        """As it was given."""
        return self._namespace

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        """Apply a decision, in one transaction with others that wait; see `StateStore.update`."""
        check_key(key)
        check_keep(keep_s)
        return await self._done(partial(_apply, key, decide, keep_s), writes=True)

    async def read(self, key: str) -> tuple[State | None, int]:
        """The state, and the clock in microseconds. Waits for nobody's lock."""
        return await self._done(partial(_read, check_key(key)))

    async def keys(self, kind: str) -> Sequence[str]:
        """All keys of a kind, sorted. Waits for nobody's lock."""
        return await self._done(partial(_keys, check_kind(kind)))

    async def publish(self, channel: str, message: str) -> None:
        """Tell all who listen now."""
        signal = Signal(check_channel(channel), check_message(message))
        await self._done(lambda _: (None, (signal,)))

    async def subscribe(self, channel: str, notice: Notice) -> None:
        """Have `notice` called in this event loop.

        Raises:
            Misuse: another event loop, which is running, has subscribed before.
        """
        check_channel(channel)
        self._check_open()
        board = self._board
        board.add(channel, notice)
        try:
            receiver = await self._done(lambda _: (board.listen(channel), ()))
        except BaseException:
            board.remove(channel, notice)
            raise
        if not self._closed:
            # The loop holds the store by this: who listens lives until it is closed.
            board.hear(receiver, self._heard)

    async def unsubscribe(self, channel: str, notice: Notice) -> None:
        """Stop calling `notice`."""
        board = self._board
        if board.remove(channel, notice) and not self._closed:
            # Should it fail, signals still come, and nobody is told.
            with contextlib.suppress(Unavailable):
                await self._done(lambda _: (board.ignore(channel), ()))

    async def aclose(self) -> None:
        """End what was begun, within 5 s, and release the file and the socket."""
        if self._closed:
            return
        self._closed = True
        _open_stores.discard(self)
        self._board.leave()
        if self._thread is not None:
            await _ended(self._thread)

    def _check_open(self) -> None:
        if self._closed:
            raise Misuse("this state store is closed; open a new one")

    async def _done(self, work: Work[T], *, writes: bool = False) -> T:
        """Have the thread do it, and wait no longer than the store's patience."""
        self._check_open()
        job = Job(work, writes=writes, until_s=time.monotonic() + self._patience_s)
        expiry = job.loop.call_later(self._patience_s, self._expire, job)
        self._working().submit(job)
        try:
            return await job.future
        finally:
            expiry.cancel()

    def _expire(self, job: Job[T]) -> None:
        if not job.future.done():
            job.future.set_exception(
                Unavailable(
                    f"the state database {str(self._path)!r} did not answer within {self._patience_s:g} s; "
                    "look for a process that holds it and is stopped or hangs, or give a larger patience_s"
                )
            )

    def _working(self) -> StoreThread:
        if self._thread is None:
            self._thread = StoreThread(self._path, self._namespace, now=self._now, board=self._board)
            # A store that is dropped without being closed takes its thread along.
            weakref.finalize(self, self._thread.stop).atexit = False
        return self._thread

    def _new_board(self) -> Switchboard:
        return Switchboard(Wakeups(self._path.with_name(f"{self._path.name}.wake"), self._namespace))

    def _heard(self) -> None:
        self._board.tell_what_came()

    def _before_fork(self) -> None:
        if self._thread is not None:
            self._thread.pause()

    def _after_fork(self, *, in_child: bool) -> None:
        thread, board = self._thread, self._board
        if in_child:
            if thread is not None:
                _inherited.append(thread)
            board.abandon()
            self._thread, self._board = None, self._new_board()
        elif thread is not None:
            thread.go_on()


def _clock_us(clock: Clock | None) -> Callable[[], int]:
    return (lambda: time.time_ns() // 1000) if clock is None else (lambda: round(clock.now() * SECOND))


def _apply(key: str, decide: Decide[T], keep_s: float | None, transaction: Transaction) -> tuple[T, Sequence[Signal]]:
    now = transaction.now()
    text = transaction.text(key, now)
    old = None if text is None else from_text(text, key)
    state, result, signals = decide(old, now)
    if state is old:
        return result, ()
    for signal in signals:
        check_channel(signal.channel)
        check_message(signal.message)
    expires = None if keep_s is None else now + micros(keep_s)
    transaction.put(key, None if state is None else to_text(state, key), expires)
    return result, signals


def _read(key: str, transaction: Transaction) -> tuple[tuple[State | None, int], Sequence[Signal]]:
    text = transaction.text(key, transaction.now())
    # The clock is looked at again: a writer may have come between, and no state is younger than its time.
    return (None if text is None else from_text(text, key), transaction.now()), ()


def _keys(kind: str, transaction: Transaction) -> tuple[list[str], Sequence[Signal]]:
    return transaction.keys(kind, transaction.now()), ()


async def _ended(thread: StoreThread) -> None:
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
    for store in tuple(_open_stores):
        store._before_fork()  # noqa: SLF001  # of this module


def _after_fork(*, in_child: bool) -> None:
    for store in tuple(_open_stores):
        store._after_fork(in_child=in_child)  # noqa: SLF001  # of this module


os.register_at_fork(
    before=_before_fork,
    after_in_parent=partial(_after_fork, in_child=False),
    after_in_child=partial(_after_fork, in_child=True),
)
