"""Say over HTTP whether a worker is alive, and whether it is ready: for whoever starts, restarts and watches it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple

from coterie._json import JsonValue
from coterie.remote.http import Answer, HttpServer, Request
from coterie.telemetry.logs import guarded

__all__ = ["Health", "Page"]

_log = guarded("coterie.remote")

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
        self._server = HttpServer(host, port, self._answer, what="answer health checks")
        self._status = status
        self.pages: dict[str, Page] = {}

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    async def start(self) -> None:
        """Listen.

        Raises:
            Misuse: nobody can listen there.
        """
        await self._server.start()

    async def aclose(self) -> None:
        """Listen no more."""
        await self._server.aclose()

    async def _answer(self, request: Request) -> Answer:
        page = self.pages.get(request.path)
        if page is not None and request.reads:
            return await _shown(page)
        status, document = self._said(request)
        return Answer(status, _JSON, json.dumps(document).encode())

    def _said(self, request: Request) -> tuple[HTTPStatus, dict[str, JsonValue]]:
        if not request.reads:
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "ask with GET"}
        status = self._status()
        match request.path:
            case "/live":
                return HTTPStatus.OK, {"live": True, **status}
            case "/ready":
                return HTTPStatus.OK if status["ready"] else HTTPStatus.SERVICE_UNAVAILABLE, status
        *names, last = "/live", "/ready", *self.pages
        return HTTPStatus.NOT_FOUND, {"error": f"there are {', '.join(names)} and {last}"}


async def _shown(page: Page) -> Answer:
    try:
        return Answer(HTTPStatus.OK, page.content_type, await page.content())
    # A mistake in what is shown must not look like a worker that does not answer.
    except Exception:  # noqa: BLE001  # logged, with its trace
        _log.exception("worker.page_failed")
        return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, _JSON, b'{"error": "it cannot be shown; the log says why"}')
