"""Hears what is published, on one connection of its own, and finds its way back when that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from coterie.errors import CoterieError
from coterie.ports import Notice
from coterie.stores.listeners import Listeners
from coterie.stores.redis.failures import translated
from coterie.stores.redis.policy import RedisPolicy
from coterie.stores.redis.route import Route, pause
from coterie.stores.redis.wire import Lost, Refusal, Wire

__all__ = ["Ear"]


class Ear:
    """Subscriptions of one store. A channel is subscribed while somebody listens on it.

    Once a lost connection is made again and all channels are confirmed, every notice gets None: messages may have been
    missed. Nobody is told before, as nothing could be read then either.
    """

    def __init__(self, route: Route, policy: RedisPolicy, *, prefix: str, where: str) -> None:
        self._route = route
        self._policy = policy
        self._prefix = prefix.encode()
        self._where = where
        self._listeners = Listeners()
        self._wire: Wire | None = None
        self._keeper: asyncio.Task[None] | None = None
        # One at a time makes the connection, so that there is one.
        self._dialling = asyncio.Lock()
        # Of the present connection. What was asked before an UNSUBSCRIBE is not confirmed by the answer to it.
        self._confirmed: set[str] = set()
        self._unsubscribed = 0
        self._closed = False

    async def subscribe(self, channel: str, notice: Notice) -> None:
        """Returns once the server has confirmed the channel; if that fails, or is cancelled, nothing is left behind.

        Raises:
            Unavailable, Misuse: as the server has it.
        """
        self._listeners.add(channel, notice)
        try:
            with translated(f"subscribe to {channel!r}", self._where):
                await self._confirm(await self._connected(), [channel])
        except BaseException:
            # Also when cancelled: who was not told that it listens does not expect to.
            self.unsubscribe(channel, notice)
            raise

    def unsubscribe(self, channel: str, notice: Notice) -> None:
        """Takes effect at once; the server is told in passing."""
        if self._listeners.remove(channel, notice):
            self._confirmed.discard(channel)
            self._unsubscribed += 1
            if self._wire is not None:
                self._wire.tell(("UNSUBSCRIBE", self._name(channel)))

    async def aclose(self) -> None:
        """Tell nobody any more."""
        self._closed = True
        self._listeners.clear()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._wire is not None:
            await self._wire.aclose(self._policy.close_timeout_s)

    def _name(self, channel: str) -> bytes:
        return self._prefix + channel.encode()

    def _heard(self, channel: bytes, message: bytes) -> None:
        """Called by the connection with each message."""
        self._listeners.tell(channel[len(self._prefix) :].decode(), message.decode("utf-8", "replace"))

    async def _connected(self) -> Wire:
        async with self._dialling:
            if self._wire is None or not self._wire.is_open:
                if self._closed:
                    raise Lost("the store was closed", sent=False)
                async with asyncio.timeout(self._policy.connect_timeout_s):
                    wire = await self._route.listen(self._heard)
                if self._closed:
                    wire.drop("the store was closed")
                    raise Lost("the store was closed", sent=False)
                self._wire = wire
                self._confirmed.clear()
            if self._keeper is None:
                self._keeper = asyncio.create_task(self._keep(self._wire), name="coterie-redis-subscriptions")
            return self._wire

    async def _confirm(self, wire: Wire, channels: Iterable[str]) -> None:
        """Ask for what is not confirmed yet, and wait until all is."""
        wanted = [channel for channel in channels if channel not in self._confirmed]
        before = self._unsubscribed
        replies = await asyncio.gather(*(wire.send(("SUBSCRIBE", self._name(channel))) for channel in wanted))
        for reply in replies:
            if isinstance(reply, Refusal):
                raise reply
        if wire is self._wire and before == self._unsubscribed:
            self._confirmed.update(wanted)

    async def _keep(self, tended: Wire) -> None:
        """Look after the connection while anybody listens."""
        while True:
            if tended.is_open and tended is self._wire:
                await asyncio.wait([tended.ended], timeout=self._policy.ping_every_s)
                # A server that owes the answer for too long loses the connection.
                tended.tell(("PING",))
            elif self._listeners.channels():
                tended = await self._again()
                self._listeners.tell_all_of_a_loss()
            else:
                self._keeper = None
                return

    async def _again(self) -> Wire:
        """Connect and subscribe to all channels anew, however long it takes."""
        tries = 0
        while True:
            try:
                with translated("subscribe again", self._where):
                    wire = await self._connected()
                    await self._confirm(wire, self._listeners.channels())
                    return wire
            except CoterieError:
                # Whatever it is, it may pass; callers of the store hear of it by their own commands.
                await pause(tries)
                tries += 1
