"""Who listens to one store of this machine: in this event loop directly, in other processes by their sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

from coterie._rules.decided import Signal
from coterie.errors import Misuse
from coterie.ports import Notice
from coterie.stores.listeners import Listeners
from coterie.stores.wakeups import Wakeups

__all__ = ["Switchboard"]


class Switchboard:
    """Joins the listeners of one event loop with the wake-ups of all processes.

    `listen`, `ignore`, `send`, `close` are called in the store's thread, the others in the event loop.
    """

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self._listeners = Listeners()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receiver: socket.socket | None = None
        self.listen = wakeups.listen
        self.ignore = wakeups.ignore
        self.close = wakeups.close

    def send(self, signals: Sequence[Signal]) -> None:
        """Tell others, then those in this event loop."""
        self._wakeups.send(signals)
        if self._loop is not None:
            # A loop that is closed has no listeners any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell, signals)

    def add(self, channel: str, notice: Notice) -> None:
        """Have `notice` called in the running loop; who listened in one that has ended is forgotten.

        Raises:
            Misuse: the loop of others is running still.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._loop.is_running():
                raise Misuse("another event loop listens to this store; open one for each loop")
            self.leave()
            self._loop = loop
        self._listeners.add(channel, notice)

    def remove(self, channel: str, notice: Notice) -> bool:
        """Answers whether it was the channel's last."""
        return self._listeners.remove(channel, notice)

    def hear(self, receiver: socket.socket, heard: Callable[[], None]) -> None:
        """Have `heard` called when something has come."""
        if self._receiver is None and self._loop is not None:
            self._receiver = receiver
            self._loop.add_reader(receiver, heard)

    def tell_what_came(self) -> None:
        """Call those whom it concerns."""
        for channel, message in self._wakeups.receive():
            if channel is None:
                self._listeners.tell_all_of_a_loss()
            else:
                self._listeners.tell(channel, message)

    def leave(self) -> None:
        """Hear nothing any more, and tell nobody."""
        if self._loop is not None and self._receiver is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._receiver)
        self._listeners.clear()
        self._loop = self._receiver = None

    def abandon(self) -> None:
        """Close this process's copies of another's sockets: for a forked child."""
        self._listeners.clear()
        self._loop = self._receiver = None
        self._wakeups.abandon()

    def _tell(self, signals: Sequence[Signal]) -> None:
        for channel, message in signals:
            self._listeners.tell(channel, message)
