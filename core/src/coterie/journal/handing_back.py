"""Hand claims back, and see records written, also while being cancelled; within a bound.

Whoever waits for a claim that was not handed back waits for its lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from coterie.errors import CoterieError

__all__ = ["handed_back", "seen_through"]

T = TypeVar("T")

_log = logging.getLogger("coterie.journal")

HAND_BACK_S = 5.0


async def handed_back(handing: Coroutine[Any, Any, None], what: str) -> None:
    """Wait until it is done, also while being cancelled; what goes wrong is logged."""
    work = asyncio.ensure_future(handing)
    try:
        async with asyncio.timeout(HAND_BACK_S):
            await asyncio.shield(work)
    except (CoterieError, TimeoutError) as error:
        _log.warning("journal.not_handed_back %s: %r", what, error)


async def seen_through(writing: Coroutine[Any, Any, T]) -> T:
    """Await it; cancelled meanwhile, wait for its end all the same before that goes on."""
    work = asyncio.ensure_future(writing)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        done, _ = await asyncio.wait([work], timeout=HAND_BACK_S)
        if not done:
            work.cancel()
        elif not work.cancelled() and (error := work.exception()) is not None:
            _log.warning("journal.not_recorded: %r", error)
        raise
