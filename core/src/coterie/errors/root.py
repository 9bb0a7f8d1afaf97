"""The root of all errors, and the words that their messages share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["CoterieError", "in_words", "listed"]


class CoterieError(Exception):
    """The root: catch it to catch everything that coterie raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Come out of another process as it was: many are made of other things than their message."""
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(kind: type[CoterieError], said: tuple[object, ...]) -> CoterieError:
    error = kind.__new__(kind, *said)
    error.args = said
    return error


def in_words(duration_s: float) -> str:
    """`0.5 s`, `90 s`, `32 min`, `5 h 3 min`, `2 d 4 h`: as messages have it."""
    if duration_s < 120:
        return f"{duration_s:.3g} s"
    minutes = round(duration_s / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def listed(names: Iterable[str], limit: int = 20) -> str:
    """Names for a message, sorted and quoted; of many, the first."""
    every = sorted(names)
    shown = ", ".join(repr(name) for name in every[:limit]) or "none"
    return shown if len(every) <= limit else f"{shown} and {len(every) - limit} more"
