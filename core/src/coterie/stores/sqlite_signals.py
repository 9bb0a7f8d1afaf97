"""How a store in a SQLite file tells of what it has stored, and who listens to it, here and in other processes."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from coterie._rules.decided import Signal
from coterie.errors import Unavailable
from coterie.ports import Notice
from coterie.stores.scopes import MachineStore
from coterie.stores.sqlite_access import Access
from coterie.stores.sqlite_thread import Transaction
from coterie.stores.switchboard import Switchboard
from coterie.stores.wakeups import Wakeups

__all__ = ["HeardStore", "SignallingTables"]

Tr = TypeVar("Tr", bound=Transaction)

_log = logging.getLogger("coterie.store")


class SignallingTables:
    """Of `sqlite_thread.Tables`, what is about those who listen; see there. board: who does."""

    def __init__(self, path: Path, namespace: str) -> None:
        self._path = path
        self._namespace = namespace
        self.board = self._new_board()

    def tend(self, connection: sqlite3.Connection) -> None:
        """Nothing: SQLite itself sees to the write-ahead log."""

    def close(self) -> None:
        """Release the socket."""
        self.board.close()

    def inherited(self) -> None:
        """Close this process's copy of the parent's socket; nobody listens any more."""
        self.board.abandon()
        self.board = self._new_board()

    def _tell(self, signals: Sequence[Signal]) -> None:
        """Tell all who listen of what was stored."""
        if not signals:
            return
        try:
            self.board.send(signals)
        # It is stored; that nobody was woken is for the log, and who listens looks again by itself.
        except Exception:  # noqa: BLE001
            _log.warning("store.not_signalled %s", self._path, exc_info=True)

    def _new_board(self) -> Switchboard:
        return Switchboard(Wakeups(self._path.with_name(f"{self._path.name}.wake"), self._namespace))


class HeardStore(MachineStore, Generic[Tr]):
    """A store whose tables signal: `_tables`, which it reaches through `_file`."""

    _tables: SignallingTables
    _file: Access[Tr]

    async def aclose(self) -> None:
        """End what was begun, within 5 s, and release the file and the socket."""
        if not self._file.closed:
            self._tables.board.leave()
            await self._file.aclose()

    async def _listen(self, channel: str, notice: Notice) -> None:
        """Have `notice` called in this event loop.

        Raises:
            Misuse: another event loop, which is running, listens; or the store is closed.
        """
        self._file.check_open()
        board = self._tables.board
        board.add(channel, notice)
        try:
            receiver = await self._file.done(lambda _: board.listen(channel))
        except BaseException:
            board.remove(channel, notice)
            raise
        if not self._file.closed:
            # The loop holds the store by this: who listens lives until it is closed.
            board.hear(receiver, self._heard)

    async def _ignore(self, channel: str, notice: Notice) -> None:
        """Stop calling `notice`."""
        board = self._tables.board
        if board.remove(channel, notice) and not self._file.closed:
            # Should it fail, signals still come, and nobody is told.
            with contextlib.suppress(Unavailable):
                await self._file.done(lambda _: board.ignore(channel))

    def _heard(self) -> None:
        self._tables.board.tell_what_came()
