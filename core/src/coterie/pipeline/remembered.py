"""The last output to an input, kept for when the agents that gave it cannot: a fallback's `cached_s`."""

from __future__ import annotations

import json
import logging
from typing import cast

from coterie._json import JsonValue
from coterie._rules.decided import Decided, State
from coterie._rules.timeline import SECOND, moment
from coterie.errors import Unavailable
from coterie.ports import StateStore
from coterie.ref import Ref
from coterie.result import output_from_dict, output_to_dict

__all__ = ["recall", "remember"]

_log = logging.getLogger("coterie.task")

# Larger outputs are remembered only where an artifact store keeps them.
MOST_CHARS = 64 * 1024


async def remember(key: str, name: str, store: StateStore, output: JsonValue | Ref, *, keep_s: float) -> None:
    """Keep an output for `keep_s` seconds. A store that fails is logged: the work itself is done.

    key: the same for all work with equal input. name: of the work, for the log.
    """
    text = json.dumps(output_to_dict(output))
    if len(text) > MOST_CHARS:
        _log.info("task.not_remembered %s: its output has %d characters inline", name, len(text))
        return

    def write(state: State | None, now: int) -> Decided[None]:
        return Decided({**moment(state, now).stamp(), "output": text}, None)

    try:
        await store.update(f"cache/{key}", write, keep_s=keep_s)
    except Unavailable as error:
        _log.warning("task.not_remembered %s: %s", name, error)


async def recall(key: str, name: str, store: StateStore, *, age_s: float) -> tuple[JsonValue | Ref] | None:
    """The output to the same input, at most `age_s` seconds old; None if there is none, or the store fails."""
    try:
        state, now = await store.read(f"cache/{key}")
    except Unavailable as error:
        _log.warning("task.not_recalled %s: %s", name, error)
        return None
    if state is None or moment(state, now).at - cast("int", state["at"]) > age_s * SECOND:
        return None
    return (output_from_dict(json.loads(cast("str", state["output"]))),)
