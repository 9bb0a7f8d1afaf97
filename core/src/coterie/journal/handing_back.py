"""Hand claims back, within a bound: whoever waits for one that was not waits for its lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from coterie.errors import CoterieError

__all__ = ["handed_back"]

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
