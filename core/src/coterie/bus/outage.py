"""A store that does not answer: told once, waited for, and told again when it does."""

from __future__ import annotations

import logging
import random

from coterie.bus.wire import Wire
from coterie.errors import Unavailable

__all__ = ["Outage"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0


class Outage:
    """What one reader knows of its store's failures."""

    __slots__ = ("_pause_s", "_who", "_wire")

    def __init__(self, wire: Wire, who: str) -> None:
        self._wire = wire
        self._who = who
        self._pause_s = 0.0

    def failed(self, error: Unavailable) -> float:
        """The store did not answer; answers how long to wait before it is asked again."""
        if not self._pause_s:
            said = f"{self._who} waits for the store: {error}"
            self._wire.tell(logging.WARNING, "events.store_failed", said, group=self._who, error=str(error))
        self._pause_s = min(max(2 * self._pause_s, _FIRST_WAIT_S), _LONGEST_WAIT_S)
        return self._pause_s * (0.5 + random.random())  # noqa: S311  # spreads load, no secret

    def answered(self) -> None:
        """The store has answered."""
        if self._pause_s:
            self._pause_s = 0.0
            self._wire.tell(logging.INFO, "events.store_recovered", f"{self._who} goes on", group=self._who)
