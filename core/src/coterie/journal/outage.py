"""What a process knows of a store's outages: when one began and ended, who was kept waiting; told once each."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from coterie._rules.timeline import SECOND
from coterie.errors import Unavailable
from coterie.events import Event, Listener
from coterie.result import ErrorInfo
from coterie.trail import Trail

__all__ = ["AWAY_US", "Alarm", "Outage", "Stretch", "noted_wait"]

_log = logging.getLogger("coterie.journal")

# A store that takes so long was away, whether it failed or was silent; a busy one takes milliseconds.
AWAY_US = 1_000_000
_MOST_KEPT = 100
# For so long after its last failure a store may be taken to be away still: who asks again does so sooner.
_KNOWN_US = 15_000_000


def noted_wait(trail: Trail, began_us: int) -> bool:
    """Note that the store has kept work waiting until now, if it was away; whether it was."""
    was_away = trail.now_us() - began_us >= AWAY_US
    if was_away:
        trail.since("wait", began_us, **{"for": "store"})
    return was_away


class Stretch(NamedTuple):
    """From one instant to another, in microseconds since the epoch."""

    began_us: int
    ended_us: int


class Alarm:
    """Tells a listener that a store is away, and that it is back: once each, however many notice.

    what: of whom it is told. on_event: told of `state.store_failed` and `state.store_recovered`.
    """

    __slots__ = ("_noticed_by", "_what", "on_event")

    def __init__(self, what: str, on_event: Listener | None = None) -> None:
        self._what = what
        self._noticed_by = 0
        self.on_event = on_event

    def raised(self, error: Unavailable) -> None:
        """One more notices it."""
        self._noticed_by += 1
        if self._noticed_by == 1:
            self._tell("state.store_failed", error=str(ErrorInfo.of(error)))

    def over(self) -> None:
        """One of them has heard of the store again."""
        self._noticed_by -= 1
        if not self._noticed_by:
            self._tell("state.store_recovered")

    def _tell(self, name: str, **fields: str) -> None:
        if self.on_event is None:
            return
        try:
            self.on_event(Event(name, fields={"state": self._what, **fields}))
        # Nobody handles it further: what a listener does wrong is its own.
        except Exception:  # noqa: BLE001
            _log.exception("state.listener_failed %s", self._what)


class Outage:
    """What one process knows of a store's failures. Logged when one begins, and when it is over, however many wait.

    away, back: what it is called in the log then. now: seconds since the epoch. alarm: raised meanwhile. is_on: whether
    one has begun.
    """

    __slots__ = ("_alarm", "_away", "_back", "_began_us", "_failed_us", "_log", "_now", "_over", "is_on")

    def __init__(
        self,
        log: logging.Logger,
        away: str,
        back: str,
        *,
        now: Callable[[], float] = time.time,
        alarm: Alarm | None = None,
    ) -> None:
        self._alarm = alarm
        self._log = log
        self._away = away
        self._back = back
        self._now = now
        self._began_us = self._failed_us = 0
        self._over: deque[Stretch] = deque(maxlen=_MOST_KEPT)
        self.is_on = False

    def failed(self, who: str, error: Unavailable, *, after_s: float = 0.0) -> None:
        """The store did not answer. who: asked, and asks again. after_s: how long ago."""
        # More of the same is for those who look for it.
        level = logging.DEBUG if self.is_on else logging.WARNING
        is_new, self.is_on = not self.is_on, True
        self._failed_us = self._now_us()
        if is_new:
            self._began_us = self._failed_us - round(after_s * SECOND)
        self._log.log(level, "%s %s: the store is asked again until it answers: %s", self._away, who, error)
        if is_new and self._alarm is not None:
            self._alarm.raised(error)

    def answered(self) -> None:
        """The store has answered."""
        if self.is_on:
            self.is_on = False
            self._over.append(self._stretch())
            self._log.warning("%s: the store answers again", self._back)
            if self._alarm is not None:
                self._alarm.over()

    def stretches(self) -> list[Stretch]:
        """When it was away, in order; the last hundred times, and now if it is."""
        return [*self._over, *((self._stretch(),) if self.is_on else ())]

    def _stretch(self) -> Stretch:
        """Until now, unless all that asked have given up long ago: since then, nobody knows."""
        return Stretch(self._began_us, min(self._now_us(), self._failed_us + _KNOWN_US))

    def _now_us(self) -> int:
        return int(self._now() * SECOND)
