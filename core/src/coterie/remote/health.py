"""Say over HTTP whether a worker is alive, and whether it is ready: for whoever starts, restarts and watches it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple

from coterie._json import JsonValue
from coterie.errors import Misuse
from coterie.telemetry.logs import guarded

__all__ = ["Health", "Page"]

_log = guarded("coterie.remote")

_READ_S = 5.0
_MOST_BYTES = 8192
# Of more connections than these, the oldest gives way: whoever leaves them open shuts nobody out.
_MOST_OPEN = 64
_JSON = "application/json"


class Page(NamedTuple):
    """What else may be asked for there. content: made anew for whoever asks."""

    content_type: str
    content: Callable[[], Awaitable[bytes]]


class Health:
    """Answers `GET /live` and `GET /ready` in JSON, and whatever `pages` it has.

    status: what is said of the worker; `ready` in it decides between 200 and 503 of `/ready`. `pages` may be added to,
    by path.
    """

    def __init__(self, host: str, port: int, status: Callable[[], dict[str, JsonValue]]) -> None:
        self._address = (host, port)
        self._status = status
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, None] = {}
        self.pages: dict[str, Page] = {}

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
            self._server = await asyncio.start_server(self._serve, host, port, limit=_MOST_BYTES)
        # A name that cannot be one is no OSError.
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise Misuse(f"cannot answer health checks on {host[:100]}:{port}: {why}; give a free one") from error

    async def aclose(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 1.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > _MOST_OPEN:
            oldest = next(iter(self._open))
            oldest.transport.abort()
            del self._open[oldest]
        # Whoever asks may go away at any time, or send anything.
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _READ_S)
            request = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
            status, kind, body = await self._answer(request)
            writer.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
                + (b"" if request[0] == "HEAD" else body)
            )
            await asyncio.wait_for(writer.drain(), _READ_S)
        self._open.pop(writer, None)
        writer.close()

    async def _answer(self, request: list[str]) -> tuple[HTTPStatus, str, bytes]:
        method, path = (*request, "", "")[:2]
        name = path.partition("?")[0]
        page = self.pages.get(name)
        if page is not None and method in ("GET", "HEAD"):
            return await _shown(page)
        status, document = self._said(method, name)
        return status, _JSON, json.dumps(document).encode()

    def _said(self, method: str, name: str) -> tuple[HTTPStatus, dict[str, JsonValue]]:
        if method not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "ask with GET"}
        status = self._status()
        match name:
            case "/live":
                return HTTPStatus.OK, {"live": True, **status}
            case "/ready":
                return HTTPStatus.OK if status["ready"] else HTTPStatus.SERVICE_UNAVAILABLE, status
        *names, last = "/live", "/ready", *self.pages
        return HTTPStatus.NOT_FOUND, {"error": f"there are {', '.join(names)} and {last}"}


async def _shown(page: Page) -> tuple[HTTPStatus, str, bytes]:
    try:
        return HTTPStatus.OK, page.content_type, await page.content()
    # A mistake in what is shown must not look like a worker that does not answer.
    except Exception:  # noqa: BLE001  # logged, with its trace
        _log.exception("worker.page_failed")
        return HTTPStatus.INTERNAL_SERVER_ERROR, _JSON, b'{"error": "it cannot be shown; the log says why"}'
