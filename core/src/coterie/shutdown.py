"""A graceful end: how long agents that are at work may go on, and the wait until none is."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from coterie.errors import PolicyError

if TYPE_CHECKING:
    from coterie.slots import Slots

__all__ = ["GRACEFUL_SHUTDOWN_TIMEOUT_S", "VARIABLE", "check_timeout_s", "finished", "timeout_s_here"]

# Whoever ends processes gives them 30 s, as Kubernetes does: agents that are cancelled then need some of that to end.
GRACEFUL_SHUTDOWN_TIMEOUT_S = 10.0
VARIABLE = "COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S"

_LONGEST_S = 86_400.0
_LOOK_S = 0.02
# For outputs that are stored, lists that are gathered, and ends that are recorded.
_FOLLOW_S = 1.0


def check_timeout_s(given: object, where: str = "graceful_shutdown_timeout_s") -> float:
    """The same number of seconds.

    Raises:
        PolicyError: it is none from 0 to 86400.
    """
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= _LONGEST_S:
        raise PolicyError(f"{where} is {given!r}; give 0 to 86400 seconds")
    return float(given)


def timeout_s_here(default_s: float = GRACEFUL_SHUTDOWN_TIMEOUT_S) -> float:
    """What `COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S` says, if it does.

    Raises:
        PolicyError: it says no number from 0 to 86400.
    """
    text = os.environ.get(VARIABLE)
    return check_timeout_s(_number(text), VARIABLE) if text else default_s


async def finished(slots: Slots, follow: Callable[[], Collection[asyncio.Task[Any]]], timeout_s: float) -> None:
    """Wait, at most so long, until no agent is called any more, and for what follows from the last.

    follow: what is under way beside the agents; most of it may wait for what never comes.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            # A signal would cost every task of every run, for what happens once.
            while slots.at_work:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_S)
            following = follow()
            if following:
                await asyncio.wait(following, timeout=_FOLLOW_S)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
