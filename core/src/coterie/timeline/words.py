"""What time went to, in the words that terminal, page and documentation share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from coterie.timeline.span import Time

__all__ = ["TIME_WORDS", "share"]

TIME_WORDS: Mapping[Time, str] = MappingProxyType(
    {
        "agent": "agents at work",
        "open": "not ended, so waiting or at work",
        "queue": "waiting for a slot",
        "limit": "held back by rate limits",
        "backoff": "back-off between attempts",
        "wait": "waiting after refusals",
        "store": "waiting for the store",
        "lost": "lost with a worker",
        "artifact": "reading and writing artifacts",
        "claim": "waiting for another process",
        "person": "waiting for a person",
        "undo": "undoing",
        "ready": "ready, and not begun",
        "event": "waiting for events",
        "closing": "closing the run",
        "nobody": "nobody at it",
        "coterie": "coterie itself",
    }
)


def share(part_us: int, whole_us: int) -> str:
    """`83 %`; `<1 %` of what is not nothing."""
    percent = round(100 * part_us / max(1, whole_us))
    return f"{percent} %" if percent or not part_us else "<1 %"
