"""What one unit of work went through, noted as it goes: for spans, and for the journal's own timeline.

A notebook that knows nothing of either. Times are whole microseconds; instants since the epoch, by the clock of the
process that notes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from coterie._rules.lap import KINDS, Fact, Lap, laps_of, laps_text
from coterie.result import ErrorInfo

__all__ = ["KINDS", "LONGEST_TEXT", "MOST_LAPS", "SHORTEST_US", "Fact", "Lap", "Trail", "laps_of", "laps_text"]

MOST_LAPS = 100
LONGEST_TEXT = 200
# A wait that takes less is none: agents take seconds, and a busy process makes up milliseconds.
SHORTEST_US = 10_000

_NOTHING: Mapping[str, Fact] = MappingProxyType({})
_NONE: frozenset[int] = frozenset()


class Trail:
    """The laps of one unit of work in the order of their ends; at most 100, further ones are counted in `more`.

    traced: which of them have spans already.
    now: seconds since the epoch. Several threads may note at a time.
    """

    __slots__ = ("_now", "laps", "more", "traced")

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.laps: list[Lap] = []
        self.more = 0
        self.traced = _NONE

    def now_us(self) -> int:
        """The instant."""
        return int(self._now() * 1_000_000)

    def note(self, kind: str, at_us: int, took_us: int, /, **facts: Fact | BaseException | None) -> None:
        """Note a lap. Facts that are None, or no number, are left out; of an exception, its type and message stay."""
        if len(self.laps) < MOST_LAPS:
            self.laps.append(Lap(kind, at_us, max(0, took_us), _plain(facts)))
        else:
            self.more += 1

    def since(self, kind: str, began_us: int, /, **facts: Fact | BaseException | None) -> None:
        """Note a lap that ends now."""
        self.note(kind, began_us, self.now_us() - began_us, **facts)

    def waited(self, kind: str, began_us: int, /, **facts: Fact | BaseException | None) -> None:
        """Note a lap that ends now, if that took any time worth mentioning."""
        took_us = self.now_us() - began_us
        if took_us >= SHORTEST_US:
            self.note(kind, began_us, took_us, **facts)

    def extend(self, laps: tuple[Lap, ...], more: int = 0, *, is_traced: bool = False) -> None:
        """Note what was noted elsewhere. is_traced: whether spans of it were made there too."""
        room = MOST_LAPS - len(self.laps)
        if is_traced:
            first = len(self.laps)
            self.traced |= frozenset(range(first, first + len(laps[:room])))
        self.laps.extend(lap._replace(facts=_plain(lap.facts)) for lap in laps[:room])
        self.more += more + max(0, len(laps) - room)


def _plain(facts: Mapping[str, Any]) -> Mapping[str, Fact]:
    """What every reader takes: short texts of whole characters, finite numbers."""
    if not facts:
        return _NOTHING
    plain: dict[str, Fact] = {}
    for name, fact in facts.items():
        if isinstance(fact, BaseException):
            plain[name] = _text(str(ErrorInfo.of(fact)))
        elif isinstance(fact, str):
            plain[name] = _text(fact)
        elif isinstance(fact, int) or (isinstance(fact, float) and math.isfinite(fact)):
            plain[name] = fact
    return plain


def _text(text: str) -> str:
    short = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    return short if short.isascii() else short.encode(errors="backslashreplace").decode()
