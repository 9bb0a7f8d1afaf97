"""State of one machine, in a SQLite file: the default, as every task of a scheduler is a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from coterie._rules.decided import Decide, Signal, State
from coterie._rules.timeline import micros
from coterie.clock import Clock
from coterie.ports import Notice
from coterie.stores.sqlite_access import Access, clock_us
from coterie.stores.sqlite_signals import HeardStore
from coterie.stores.sqlite_states import StateTables, StateTransaction
from coterie.stores.states import check_channel, check_keep, check_key, check_kind, check_message, from_text, to_text

__all__ = ["SqliteStateStore"]

T = TypeVar("T")


class SqliteStateStore(HeardStore[StateTransaction]):
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
        super().__init__(path, namespace)
        self._tables = StateTables(self._path, namespace, clock_us(clock))
        self._file = Access(self._path, self._tables, patience_s=patience_s)

    def __repr__(self) -> str:
        return f"SqliteStateStore({str(self._path)!r}, {self._namespace!r})"

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        """Apply a decision, in one transaction with others that wait; see `StateStore.update`."""
        check_key(key)
        check_keep(keep_s)
        return await self._file.done(partial(_apply, key, decide, keep_s), writes=True)

    async def read(self, key: str) -> tuple[State | None, int]:
        """The state, and the clock in microseconds. Waits for nobody's lock."""
        return await self._file.done(partial(_read, check_key(key)))

    async def keys(self, kind: str) -> Sequence[str]:
        """All keys of a kind, sorted. Waits for nobody's lock."""
        check_kind(kind)
        return await self._file.done(lambda transaction: transaction.keys(kind, transaction.now()))

    async def publish(self, channel: str, message: str) -> None:
        """Tell all who listen now."""
        signal = Signal(check_channel(channel), check_message(message))
        await self._file.done(lambda transaction: transaction.signals.append(signal))

    async def subscribe(self, channel: str, notice: Notice) -> None:
        """Have `notice` called in this event loop.

        Raises:
            Misuse: another event loop, which is running, has subscribed before.
        """
        await self._listen(check_channel(channel), notice)

    async def unsubscribe(self, channel: str, notice: Notice) -> None:
        """Stop calling `notice`."""
        await self._ignore(channel, notice)


def _apply(key: str, decide: Decide[T], keep_s: float | None, transaction: StateTransaction) -> T:
    now = transaction.now()
    text = transaction.text(key, now)
    old = None if text is None else from_text(text, key)
    state, result, signals = decide(old, now)
    if state is old:
        return result
    for signal in signals:
        check_channel(signal.channel)
        check_message(signal.message)
    expires = None if keep_s is None else now + micros(keep_s)
    transaction.put(key, None if state is None else to_text(state, key), expires)
    transaction.signals.extend(signals)
    return result


def _read(key: str, transaction: StateTransaction) -> tuple[State | None, int]:
    text = transaction.text(key, transaction.now())
    # The clock is looked at again: a writer may have come between, and no state is younger than its time.
    return (None if text is None else from_text(text, key)), transaction.now()
