"""One connection to a server: commands of one tick leave in one write, answers come in order, pushes go aside.

Written on `asyncio.Protocol` and hiredis because a client's work for each command, not the network, bounds what one
process gets out of Redis, and because a caller must know whether a command that failed may have been carried out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from coterie.stores.redis.address import Host

__all__ = ["Command", "Lost", "Push", "Refusal", "Reply", "Wire"]

Command: TypeAlias = Sequence[str | bytes | int]
# As hiredis reads it: bytes, int, float, None, lists and dicts of these; a server's error is a `Refusal`, not raised.
Reply: TypeAlias = Any
# Called with the channel and the message.
Push: TypeAlias = Callable[[bytes, bytes], None]

_CONFIRMATIONS = (b"subscribe", b"unsubscribe")
_NOTHING_YET = object()
# So many commands leave before the tick ends: the server begins while the rest is being made.
_EARLY = 16


class Refusal(Exception):
    """A server's error, in its own words."""

    @property
    def code(self) -> str:
        """Its first word, such as MOVED."""
        return str(self).partition(" ")[0]


class Lost(ConnectionError):
    """The connection ended before the answer came. sent: the server may have carried the command out."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(reason)


class Wire(asyncio.Protocol):
    """Give it to `loop.create_connection`.

    op_timeout_s: an answer that is owed for longer ends the connection, and fails all that wait on it.
    on_push: takes messages of subscriptions, in RESP2 as in RESP3. SUBSCRIBE and UNSUBSCRIBE, of one channel each, are
        answered by their confirmation.
    """

    def __init__(self, *, op_timeout_s: float, on_push: Push | None = None) -> None:
        import hiredis

        self._loop = asyncio.get_running_loop()
        self._op_timeout_s = op_timeout_s
        self._on_push = on_push
        self._push_type = hiredis.PushNotification
        self._protocol_error = hiredis.ProtocolError
        # Its stubs ask for tuples that also hold floats.
        self._pack: Callable[[tuple[str | bytes | int, ...]], bytes] = cast("Any", hiredis.pack_command)
        self._reader = hiredis.Reader(replyError=Refusal, notEnoughData=_NOTHING_YET)
        self._transport: asyncio.Transport | None = None
        self._unsent: list[tuple[asyncio.Future[Reply] | None, bytes]] = []
        # With the time each was sent; None for an answer that nobody waits for.
        self._owed: deque[tuple[asyncio.Future[Reply] | None, float]] = deque()
        self._flushing = False
        self._is_alone = False
        self._paused = False
        self._watch: asyncio.TimerHandle | None = None
        self._reason = "the server closed the connection"
        self.is_open = False
        # Whether one that is alone leaves at once: it cannot be cancelled before it left, and comes a tick earlier.
        self.is_prompt = False
        # Where it leads, once it was dialled.
        self.host = Host("", 0)
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def __repr__(self) -> str:
        return f"<Wire {'open' if self.is_open else 'closed'}, owed={len(self._owed)}, unsent={len(self._unsent)}>"

    def send(self, command: Command) -> asyncio.Future[Reply]:
        """The answer to come. A future that is cancelled before its command left takes it along.

        A server's error is its result, a `Refusal`; it raises `Lost` when the connection ends.
        """
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._queue(future, command)
        return future

    def tell(self, command: Command) -> None:
        """Send what needs no answer."""
        self._queue(None, command)

    def drop(self, reason: str) -> None:
        """Cut the connection now; all who wait on it fail with `Lost`."""
        if self.is_open:
            self._reason = reason
            self._fail()
            if self._transport is not None:
                self._transport.abort()

    async def aclose(self, timeout_s: float) -> None:
        """End the connection, in good order if that takes less than `timeout_s`; returns when it has ended."""
        self._reason = "the store was closed"
        if self._transport is None:
            return
        self._fail()
        self._transport.close()
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self.ended)
        except TimeoutError:
            self._transport.abort()
            await asyncio.shield(self.ended)

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Commands may be sent from now on."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Hand each answer to the one who waits for it."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING_YET:
                if self._is_push(reply):
                    if self._on_push is not None and reply[0] == b"message":
                        self._on_push(reply[1], reply[2])
                elif self._owed:
                    future, _ = self._owed.popleft()
                    if future is not None and not future.done():
                        future.set_result(reply)
                else:
                    self.drop("the server said something that nobody had asked")
        except self._protocol_error as error:
            self.drop(f"what answers there does not speak the protocol of Redis: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all who wait."""
        if exc is not None and self.is_open:
            self._reason = str(exc) or type(exc).__name__
        self._fail()
        if not self.ended.done():
            self.ended.set_result(None)

    def pause_writing(self) -> None:
        """The network takes no more for now: commands are kept."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send what was kept."""
        self._paused = False
        self._flush()

    def _is_push(self, reply: Reply) -> bool:
        """Confirmations come in the order of their commands: they are answers. RESP2's messages only look like some."""
        if isinstance(reply, self._push_type):
            return reply[0] not in _CONFIRMATIONS
        return self._on_push is not None and type(reply) is list and reply[:1] == [b"message"]

    def _queue(self, future: asyncio.Future[Reply] | None, command: Command) -> None:
        if not self.is_open:
            if future is not None:
                future.set_exception(Lost(self._reason, sent=False))
            return
        self._unsent.append((future, self._pack(tuple(command))))
        # One that had the last tick to itself, and has the connection to itself, will hardly have company in this one.
        if len(self._unsent) >= _EARLY or (self._is_alone and self.is_prompt and not self._owed):
            self._flush()
        elif not self._flushing:
            self._flushing = True
            # After all others that are ready to run in this tick, so that their commands leave together.
            self._loop.call_soon(self._end_of_tick)

    def _end_of_tick(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        if self._paused or not self._unsent or self._transport is None or not self.is_open:
            return
        self._is_alone = len(self._unsent) == 1 and not self._owed
        now, packed = self._loop.time(), []
        for future, data in self._unsent:
            if future is None or not future.cancelled():
                packed.append(data)
                self._owed.append((future, now))
        self._unsent.clear()
        self._transport.write(packed[0] if len(packed) == 1 else b"".join(packed))
        if self._watch is None and self._owed:
            self._watch = self._loop.call_at(now + self._op_timeout_s, self._look)

    def _look(self) -> None:
        """Answers come in order: if the oldest is not late, none is. An event loop that was held up reads first."""
        self._watch = None
        if not self._owed:
            return
        due = self._owed[0][1] + self._op_timeout_s
        if self._loop.time() < due:
            self._watch = self._loop.call_at(due, self._look)
        else:
            self.drop(f"no answer within {self._op_timeout_s:g} s")

    def _fail(self) -> None:
        self.is_open = False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        owed, unsent = [future for future, _ in self._owed], [future for future, _ in self._unsent]
        self._owed.clear()
        self._unsent.clear()
        for futures, sent in ((owed, True), (unsent, False)):
            for future in futures:
                if future is not None and not future.done():
                    future.set_exception(Lost(self._reason, sent=sent))
