"""An error on a span: its chain of causes, types and messages alone."""

from __future__ import annotations

import asyncio

from opentelemetry.trace import Span, StatusCode

from coterie.result import ErrorInfo
from coterie.telemetry.names import ERROR_TYPE

__all__ = ["note_error"]

_MOST_CAUSES = 10


def note_error(span: Span, error: BaseException | ErrorInfo) -> None:
    """Have the span say that it failed, by what, and what that came from; no traceback, whose lines may hold secrets.

    A cancellation is no error: somebody wanted no more of it.
    """
    if not span.is_recording():
        return
    info = error if isinstance(error, ErrorInfo) else ErrorInfo.of(error)
    span.set_attribute(ERROR_TYPE, info.type)
    if isinstance(error, asyncio.CancelledError):
        return
    span.set_status(StatusCode.ERROR, f"{info.type}: {info.message}")
    _event(span, info)
    if isinstance(error, BaseException):
        for cause in _causes(error):
            _event(span, ErrorInfo.of(cause))


def _event(span: Span, info: ErrorInfo) -> None:
    span.add_event("exception", {"exception.type": info.type, "exception.message": info.message})


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    seen = {id(error)}
    inner: BaseException | None = error
    while inner is not None and len(found) < _MOST_CAUSES:
        inner = inner.__cause__ or (None if inner.__suppress_context__ else inner.__context__)
        if inner is None or id(inner) in seen:
            break
        seen.add(id(inner))
        found.append(inner)
    return found
