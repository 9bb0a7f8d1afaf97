"""The pages of `coterie trace serve`: what is asked for, what is answered, read from the journal each time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

from coterie.artifacts import ArtifactStore
from coterie.cli.runs.place import JournalPlace
from coterie.cli.trace.holding import timeline_with_holds
from coterie.cli.trace.list_page import Listed, list_page, list_policy
from coterie.errors import CoterieError, Misuse, Unavailable, UnknownRun
from coterie.ids import check_workflow_id
from coterie.journal.journal import Journal
from coterie.journal.view import RunView, list_runs, view_run
from coterie.remote.http import Answer, Request
from coterie.telemetry.logs import cleaned, guarded
from coterie.timeline import document_of
from coterie.timeline.page import page_of, page_policy
from coterie.usage import Usage

__all__ = ["Site"]

_log = guarded("coterie.cli")

_RUNS_A_PAGE = 50
_ON = "/runs/"
_JSON = ".json"
# Of the list: while a run goes on; and else, since one may begin.
_REFRESH_S, _LOOK_S = 10, 60
# A scheduler's run is open between its tasks, and one that waits goes on by itself.
_GO_ON = frozenset({"running", "waiting", "open"})
# Each holds all spans of a run.
_AT_ONCE = 2
_MOST_KNOWN = 1000
_HTML_TYPE, _JSON_TYPE, _TEXT_TYPE = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_NOTHING_RUNS = "default-src 'none'; base-uri 'none'; form-action 'none'"
_STATUS: tuple[tuple[type[CoterieError], HTTPStatus], ...] = (
    (UnknownRun, HTTPStatus.NOT_FOUND),
    (Misuse, HTTPStatus.BAD_REQUEST),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)


class Site:
    """Answers requests about the runs of a journal; nothing is written.

    artifacts: where outputs are kept, with the plans of large runs. hosts: by which names it may be asked, without
    ports; None: by any. Where it listens for this machine alone, a foreign name means that a page of somebody else's
    has its name lead here, to read what is here.
    """

    def __init__(self, place: JournalPlace, artifacts: ArtifactStore | None, *, hosts: Collection[str] | None) -> None:
        self._place = place
        self._artifacts = artifacts
        self._hosts = hosts
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._used: dict[tuple[str, int | None], Usage] = {}

    async def answer(self, request: Request) -> Answer:
        """What is asked for, or why not."""
        if not request.reads:
            return _told(request, HTTPStatus.METHOD_NOT_ALLOWED, "nothing can be changed here; ask with GET")
        if self._hosts is not None and _name_in(request.host) not in self._hosts:
            why = f"this is not {request.host[:100]!r}; ask for http://127.0.0.1, with the port"
            return _told(request, HTTPStatus.MISDIRECTED_REQUEST, why)
        try:
            return await self._answer(request)
        except CoterieError as error:
            status = next((status for kind, status in _STATUS if isinstance(error, kind)), None)
            return _told(request, status or HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
        # A mistake must not look like a server that does not answer.
        except Exception:  # noqa: BLE001  # logged, with its trace
            _log.exception("trace.page_failed")
            return _told(request, HTTPStatus.INTERNAL_SERVER_ERROR, "it cannot be shown; the server's log says why")

    async def _answer(self, request: Request) -> Answer:
        if request.path == "/":
            return await self._list(parse_qs(request.query).get("after", [None])[-1])
        if not request.path.startswith(_ON):
            return _told(request, HTTPStatus.NOT_FOUND, f"there are /, {_ON}RUN and {_ON}RUN{_JSON}")
        asked = request.path.removeprefix(_ON)
        name = unquote(asked)
        async with self._room, self._place.opened() as journal:
            # A run may be called so itself: then the dot is encoded, or no other run is meant.
            if not asked.endswith(_JSON):
                return await self._page(journal, name)
            try:
                return await self._document(journal, name.removesuffix(_JSON))
            except UnknownRun:
                if await journal.header(name) is None:
                    raise
                return await self._page(journal, name)

    async def _list(self, after: str | None) -> Answer:
        async with self._place.opened() as journal:
            views, more = await list_runs(journal, limit=_RUNS_A_PAGE, after=after, with_calls=False)
            runs = [Listed(view, await self._usage(journal, view)) for view in views]
            where = journal.store.url, journal.store.namespace
        goes_on = any(view.state in _GO_ON for view in views)
        text = list_page(runs, where=where, more=more, refresh_s=_REFRESH_S if goes_on else None)
        headers = {"Refresh": str(_REFRESH_S if goes_on else _LOOK_S)}
        return _answer(HTTPStatus.OK, _HTML_TYPE, text.encode(), list_policy(), headers)

    async def _usage(self, journal: Journal, view: RunView) -> Usage:
        """What a run has used. Of runs that ended, the list does not say; each is read once."""
        if view.units or view.ended_at is None:
            return view.usage
        known = view.workflow_id, view.changed_us
        if known not in self._used:
            whole = await view_run(journal, view.workflow_id)
            if len(self._used) >= _MOST_KNOWN:
                del self._used[next(iter(self._used))]
            self._used[known] = whole.usage
        return self._used[known]

    async def _page(self, journal: Journal, run: str) -> Answer:
        document = await self._read(journal, run)
        text = await asyncio.to_thread(page_of, document, served=True)
        return _answer(HTTPStatus.OK, _HTML_TYPE, text.encode(), page_policy())

    async def _document(self, journal: Journal, run: str) -> Answer:
        document = await self._read(journal, run)
        body = await asyncio.to_thread(json.dumps, document)
        return _answer(HTTPStatus.OK, _JSON_TYPE, body.encode(), _NOTHING_RUNS)

    async def _read(self, journal: Journal, run: str) -> Mapping[str, Any]:
        timeline = await timeline_with_holds(self._place, journal, check_workflow_id(run), self._artifacts)
        return await asyncio.to_thread(document_of, timeline)


def _told(request: Request, status: HTTPStatus, why: str) -> Answer:
    """Why there is nothing else to say; as JSON to whoever asked for that."""
    said, headers = cleaned(why), {"Allow": "GET, HEAD"} if status is HTTPStatus.METHOD_NOT_ALLOWED else {}
    if status is HTTPStatus.NOT_FOUND:
        said += "; all runs are listed at /"
    if request.path.endswith(_JSON):
        return _answer(status, _JSON_TYPE, json.dumps({"error": said}).encode(), _NOTHING_RUNS, headers)
    return _answer(status, _TEXT_TYPE, f"{said}\n".encode(errors="backslashreplace"), _NOTHING_RUNS, headers)


def _answer(status: HTTPStatus, kind: str, body: bytes, policy: str, more: Mapping[str, str] | None = None) -> Answer:
    # What a page may not say of itself: that nobody else shows it in a frame.
    guard = {"Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}
    return Answer(status, kind, body, {**_HEADERS, **guard, **(more or {})})


def _name_in(host: str) -> str:
    """The name in a `Host` header, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).strip("[]").lower()
