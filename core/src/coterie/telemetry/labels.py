"""Keep the label sets of a metric bounded, whatever names it is given.

Pure: nothing here knows of metrics.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import prod

from coterie.telemetry.instruments import CLOSED

__all__ = ["MOST_SETS", "OTHER", "LabelSets"]

MOST_SETS = 200
OTHER = "other"
_MOST_CHARS = 128


class LabelSets:
    """The sets of values that the labels of one metric have had; at most `MOST_SETS`, those of "other" included.

    names: of the labels. Labels of `instruments.CLOSED` keep their values; when there is no room for another set, all
    other labels say "other". Any thread may ask.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._closed = [CLOSED.get(name) for name in names]
        self.names = tuple(names)
        # So many sets there may be in which every name is "other".
        kept = prod(len(values) + 1 for values in self._closed if values is not None)
        self._room = MOST_SETS - kept
        self._known: set[tuple[str, ...]] = set()
        self._shown: dict[tuple[str, ...], dict[str, str]] = {}
        self._lock = threading.Lock()

    def of(self, values: tuple[str, ...]) -> dict[str, str]:
        """The labels to count under; not to be changed."""
        shown = self._shown.get(values)
        if shown is None:
            shown = self._made(values)
            if len(self._shown) < MOST_SETS:
                self._shown[values] = shown
        return shown

    def _made(self, values: tuple[str, ...]) -> dict[str, str]:
        given = tuple(
            value[:_MOST_CHARS] if closed is None else value if value in closed else OTHER
            for value, closed in zip(values, self._closed, strict=True)
        )
        return dict(zip(self.names, given if self._fits(given) else self._nameless(given), strict=True))

    def _fits(self, given: tuple[str, ...]) -> bool:
        if given in self._known or all(closed is not None for closed in self._closed):
            return True
        with self._lock:
            if len(self._known) < self._room:
                self._known.add(given)
        return given in self._known

    def _nameless(self, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(OTHER if closed is None else value for value, closed in zip(given, self._closed, strict=True))
