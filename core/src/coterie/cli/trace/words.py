"""How a timeline is told on a terminal: how long something took, and who somebody is, in short."""

from __future__ import annotations

import re

from coterie.cli.fleet.times import span
from coterie.timeline.words import TIME_WORDS, share

__all__ = ["TIME_WORDS", "share", "shortened", "took"]

_MILLISECOND = 1_000
# Of what only programs can tell apart, so much is enough.
_LONG_ID = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{16,}")


def took(duration_us: int) -> str:
    """`52 ms`, and from a second on as other commands say it: `1.2 s`, `3 min 20 s`."""
    if duration_us < 1_000_000:
        return f"{max(0, round(duration_us / _MILLISECOND))} ms"
    return span(duration_us)


def shortened(name: str) -> str:
    """`call.de0416c3….1` of a name with forty hexadecimal digits in it."""
    return _LONG_ID.sub(r"\1…", name)
