"""A TCP proxy that a test holds in its hands: it delays, stalls, cuts and half-closes, in the test's own event loop.

async with TcpProxy(server.port) as proxy:
    client = connect("127.0.0.1", proxy.port)
    proxy.cut_at_next_answer()
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["TcpProxy"]

HOST = "127.0.0.1"
_CHUNK = 2**16


class _Link:
    """One client's connection, and ours to the server on its behalf."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_half_closed = False

    def cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class TcpProxy:
    """Stands before `port` of 127.0.0.1, on a `port` of its own.

    tls: what clients must speak then; the server behind is spoken to in the clear.
    delay_s: how long each piece, of either direction, is held back; may be changed at any time.
    accepted: how many connections were made so far.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.accepted = 0
        self._target = port
        self._tls = tls
        self._listening: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        # Of "request" and "answer": how many more pieces pass before one of them cuts its connection; and whether its
        # first half passes.
        self._fuses: dict[str, int] = {}
        self._torn: dict[str, bool] = {}

    @property
    def port(self) -> int:
        assert self._listening is not None, "use `async with`"
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._accept, HOST, 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listening is not None
        self._refusing = True
        self._listening.close()
        self.cut()
        for pump in tuple(self._pumps):
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps)

    def cut(self) -> None:
        """Reset every connection now; new ones are accepted."""
        for link in tuple(self._links):
            link.cut()

    def cut_at_next_request(self, *, after: int = 0, torn: bool = False) -> None:
        """Cut the connection on which a piece of a request comes next (or after so many), which goes nowhere.

        torn: its first half arrives.
        """
        self._fuses["request"], self._torn["request"] = after, torn

    def cut_at_next_answer(self, *, after: int = 0, torn: bool = False) -> None:
        """Cut the connection on which the server answers next: what it was asked is done, and nobody hears of it.

        torn: the first half of the answer arrives.
        """
        self._fuses["answer"], self._torn["answer"] = after, torn

    def half_close(self) -> None:
        """End the direction to every client; theirs to the server stays open."""
        for link in tuple(self._links):
            if link.client.can_write_eof():
                link.is_half_closed = True
                link.client.write_eof()

    def stall(self) -> None:
        """Let nothing pass in either direction; connections stay, and new ones are accepted."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let everything pass again, also what was held back."""
        self._flowing.set()

    def refuse(self) -> None:
        """Reset every new connection."""
        self._refusing = True

    def accept(self) -> None:
        """Take new connections again."""
        self._refusing = False

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            if self._refusing:
                raise ConnectionError("refused on purpose")
            answers, server = await asyncio.open_connection(HOST, self._target)
        except OSError:
            client.transport.abort()
            return
        link = _Link(client, server)
        self._links.add(link)
        both = [
            asyncio.create_task(self._pump("request", link, reader, server)),
            asyncio.create_task(self._pump("answer", link, answers, client)),
        ]
        self._pumps.update(both)
        for pump in both:
            pump.add_done_callback(self._pumps.discard)
        try:
            await asyncio.wait(both)
        finally:
            self._links.discard(link)
            link.cut()

    async def _pump(
        self, direction: str, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(_CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flowing.wait()
                if self._burns(direction):
                    if self._torn[direction] and not (writer is link.client and link.is_half_closed):
                        writer.write(piece[: len(piece) // 2])
                        await writer.drain()
                        # In good order, or the half that was written would be thrown away.
                        writer.close()
                        await asyncio.wait_for(writer.wait_closed(), 5.0)
                    link.cut()
                    return
                if writer is link.client and link.is_half_closed:
                    # What the server still says reaches nobody.
                    continue
                writer.write(piece)
                await writer.drain()
        # Either end that leaves takes the other with it.
        link.cut()

    def _burns(self, direction: str) -> bool:
        left = self._fuses.get(direction)
        if left is None:
            return False
        if left > 0:
            self._fuses[direction] = left - 1
            return False
        del self._fuses[direction]
        return True
