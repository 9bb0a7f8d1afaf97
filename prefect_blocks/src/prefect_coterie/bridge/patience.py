"""Wait for what is away: a bridge ends when it is told to, not because a server is started anew."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
from prefect.exceptions import PrefectHTTPStatusError

from coterie.errors import Final, TopicFull, Unavailable

__all__ = ["NoAccess", "brief", "patiently", "wait_s_after"]

T = TypeVar("T")

_log = logging.getLogger("coterie.bridge")

_LONGEST_WAIT_S = 10.0
_SERVER_ERROR = 500
_NO_ACCESS = frozenset({401, 403})
_LATER = frozenset({408, 425, 429})


class NoAccess(Final):
    """The Prefect server does not know, or does not trust, who asks."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: the Prefect server refuses; look at PREFECT_API_KEY and PREFECT_API_AUTH_STRING")


async def patiently(what: Callable[[], Awaitable[T]]) -> T:
    """The result of `what`, which is tried again for as long as a store, or the Prefect server, is away.

    Raises:
        NoAccess: the server wants somebody else. PrefectHTTPStatusError: it does not want this.
    """
    tries = 0
    while True:
        try:
            return await what()
        except PrefectHTTPStatusError as error:
            code = error.response.status_code
            if code in _NO_ACCESS:
                raise NoAccess(brief(error)) from error
            if code < _SERVER_ERROR and code not in _LATER:
                raise
            await _waited(tries, error)
        except (Unavailable, TopicFull, httpx.HTTPError, OSError) as error:
            await _waited(tries, error)
        tries += 1


async def _waited(tries: int, error: Exception) -> None:
    wait_s = max(wait_s_after(tries), error.retry_after_s if isinstance(error, TopicFull) else 0.0)
    _log.warning("bridge.waits: %.1f s, for what is away: %s", wait_s, brief(error))
    await asyncio.sleep(wait_s)


def brief(error: BaseException) -> str:
    """What went wrong, without what was sent: Prefect's errors quote it, and it may be secret."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, PrefectHTTPStatusError):
        return f"{error.request.method} {error.request.url.path} was answered with {error.response.status_code}"
    return f"{type(error).__name__}: {error}"


def wait_s_after(tries: int) -> float:
    """How long to wait after so many failures in a row: full jitter, at most 10 s."""
    return random.uniform(0.1, min(_LONGEST_WAIT_S, 0.5 * 2.0 ** min(tries, 10)))  # noqa: S311  # spreads load, no secret
