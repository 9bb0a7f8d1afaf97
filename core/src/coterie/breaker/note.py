"""What a shared breaker opened after, in words for people, beside its state: no breaker decides by it.

Who opened it writes, in the background. Nobody else knows; where it could not be written, nothing is told.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from coterie._rules.decided import Decided, State
from coterie._rules.timeline import SECOND
from coterie.errors import CoterieError, StateFormatError
from coterie.ports import StateStore

__all__ = ["KIND", "Note", "forget_note", "leave_note", "read_note"]

_log = logging.getLogger("coterie.breaker")

# Of the keys; those of the breakers themselves begin with `breaker/`.
KIND = "breaker-error"
KEEP_S = 86_400.0


class Note(NamedTuple):
    """error: the last failure of who opened it. at_s: since the epoch, on the store's clock."""

    error: str
    at_s: int


async def leave_note(store: StateStore, name: str, error: str) -> None:
    """Keep it for a day. A store that fails is nobody's trouble."""
    try:
        await store.update(
            f"{KIND}/{name}",
            lambda _, now: Decided({"error": error, "at": now // SECOND}, None),
            keep_s=KEEP_S,
        )
    except CoterieError as failure:
        _log.debug("the error that opened the circuit breaker %s could not be kept: %s", name, failure)


async def forget_note(store: StateStore, name: str) -> None:
    """Remove it; raises what the store raises."""
    await store.update(f"{KIND}/{name}", lambda *_: Decided(None, None))


async def read_note(store: StateStore, name: str) -> Note | None:
    """What was left; None of one that is gone, or that nobody can read. Raises Unavailable where the store does."""
    try:
        state, _ = await store.read(f"{KIND}/{name}")
    except StateFormatError:
        return None
    return _note(state)


def _note(state: State | None) -> Note | None:
    error, at_s = (state or {}).get("error"), (state or {}).get("at")
    return Note(error, at_s) if isinstance(error, str) and isinstance(at_s, int) else None
