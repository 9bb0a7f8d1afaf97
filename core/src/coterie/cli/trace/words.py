"""How a timeline is told: what time went to, how long something took."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from coterie.cli.fleet.times import span
from coterie.timeline.span import Time

__all__ = ["TIME_WORDS", "share", "took"]

TIME_WORDS: Mapping[Time, str] = MappingProxyType(
    {
        "agent": "agents at work",
        "queue": "waiting for a slot",
        "limit": "held back by rate limits",
        "backoff": "back-off between attempts",
        "wait": "waiting after refusals",
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

_MILLISECOND = 1_000


def took(duration_us: int) -> str:
    """`52 ms`, and from a second on as other commands say it: `1.2 s`, `3 min 20 s`."""
    if duration_us < 1_000_000:
        return f"{max(0, round(duration_us / _MILLISECOND))} ms"
    return span(duration_us)


def share(part_us: int, whole_us: int) -> str:
    """`83 %`; `<1 %` of what is not nothing."""
    percent = round(100 * part_us / max(1, whole_us))
    return f"{percent} %" if percent or not part_us else "<1 %"
