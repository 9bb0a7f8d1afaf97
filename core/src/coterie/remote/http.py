"""A small HTTP server: for whoever watches a process, and for people on their own machine.

It answers GET and HEAD, one request a connection. Whoever is slow, says too much, or never closes, shuts nobody out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from coterie.errors import Misuse

__all__ = ["Answer", "HttpServer", "Request"]

_READ_S = 5.0
# A page is larger than a reading of health, and the line to who reads it may be slow.
_WRITE_S = 60.0
_MOST_BYTES = 8192
# Of more connections than these, the oldest gives way.
_MOST_OPEN = 64


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. target: path and query as they were sent. host: the header, empty without one."""

    method: str
    target: str
    host: str = ""

    @property
    def path(self) -> str:
        """Without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """Behind the question mark."""
        return self.target.partition("?")[2]

    @property
    def reads(self) -> bool:
        """Whether it is GET or HEAD."""
        return self.method in ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said. headers: more than its length, that it is not kept, and that the connection ends."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpServer:
    """Answers at an address with what `answer` makes of each request; it must not raise.

    what: what cannot be done where nobody can listen, for the message.
    """

    def __init__(self, host: str, port: int, answer: Callable[[Request], Awaitable[Answer]], *, what: str) -> None:
        self._address = (host, port)
        self._answer = answer
        self._what = what
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            Misuse: nobody can listen there.
        """
        host, port = self._address
        try:
            self._server = await asyncio.start_server(self._accept, host, port, limit=_MOST_BYTES)
        # A name that cannot be one is no OSError.
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise Misuse(f"cannot {self._what} on {host[:100]}:{port}: {why}; give a free one") from error

    async def aclose(self) -> None:
        """Listen no more, and leave whoever is still being answered."""
        if self._server is not None:
            self._server.close()
            going_on = tuple(self._open.values())
            for task in going_on:
                task.cancel()
            await asyncio.gather(*going_on, return_exceptions=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 1.0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: of one of asyncio's that is cancelled, Python 3.11 logs a traceback.
        self._open[writer] = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        if len(self._open) > _MOST_OPEN:
            oldest = next(iter(self._open))
            oldest.transport.abort()
            # Its task ends by itself.
            del self._open[oldest]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answered(reader, writer)
        finally:
            self._open.pop(writer, None)
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whoever asks may go away at any time, or send anything.
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _READ_S)
            request = _read(head)
            answer = await self._answer(request)
            writer.write(_head(answer) + (b"" if request.method == "HEAD" else answer.body))
            await asyncio.wait_for(writer.drain(), _WRITE_S)


def _read(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target = (*first.split(" "), "", "")[:2]
    named = (line.partition(":") for line in lines)
    hosts = [value.strip() for name, _, value in named if name.lower() == "host"]
    return Request(method, target, hosts[0] if hosts else "")


def _head(answer: Answer) -> bytes:
    lines = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        **answer.headers,
    }
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n{text}\r\n".encode()
