"""A worker's clock, against that of its store: whether it is right, and how far it is off."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import TypeGuard, TypeVar

from coterie._rules.decided import Decide, Decided, State
from coterie._rules.timeline import SECOND
from coterie.errors import Unavailable
from coterie.errors.root import in_words
from coterie.ports import StateStore

__all__ = ["OFF_S", "WorkerClock", "clock_off_of", "is_off", "off_in_words"]

_log = logging.getLogger("coterie.remote")

# So far apart, times in logs and traces are misread.
OFF_S = 1.0
# So often it is looked at.
LOOK_S = 30.0
# In a registration, in milliseconds: stores keep no more than 14 digits, and a clock may stand at the epoch.
_FIELD = "clock_off_ms"

T = TypeVar("T")


def is_off(off_s: float | None) -> TypeGuard[float]:
    """Whether that is so far that times are misread."""
    return off_s is not None and abs(off_s) >= OFF_S


def off_in_words(off_s: float) -> str:
    """`10 min behind the store's`."""
    return f"{in_words(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} the store's"


def clock_off_of(state: State | None) -> float | None:
    """What a registration says, in seconds: more than 0: ahead of the store's; None: it does not say."""
    found = None if state is None else state.get(_FIELD)
    return found / 1000 if isinstance(found, int) else None


class WorkerClock:
    """Of one worker. Logged when it is found to be off, and when it is right again.

    key: whose state is read, to be told the store's time. now: seconds since the epoch, as the worker has them.
    off_s: by how much it is ahead of the store's; None: not known yet.
    """

    __slots__ = ("_is_told", "_key", "_looked_at", "_now", "_store", "_worker_id", "off_s")

    def __init__(self, store: StateStore, worker_id: str, key: str, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._worker_id = worker_id
        self._key = key
        self._now = now
        self._looked_at = -math.inf
        self._is_told = False
        self.off_s: float | None = None

    async def look(self) -> None:
        """Compare them, unless that was done less than half a minute ago. A store that is away says nothing."""
        at = asyncio.get_running_loop().time()
        if at - self._looked_at < LOOK_S:
            return
        before = self._now()
        try:
            _, stored_us = await self._store.read(self._key)
        except Unavailable:
            return
        after = self._now()
        self._looked_at = at
        # The answer was on its way for as long; or the clock was set meanwhile.
        self._compared((before + after) / 2 - stored_us / SECOND, unsure_s=abs(after - before) / 2)

    def noting(self, decide: Decide[T]) -> Decide[T]:
        """The same decision about its registration, which also says how far it is off, where that is known."""
        off_s = self.off_s

        def decided(state: State | None, now: int) -> Decided[T]:
            found = decide(state, now)
            if off_s is None or found.state is None or found.state is state:
                return found
            return found._replace(state={**found.state, _FIELD: round(off_s * 1000)})

        return decided

    def _compared(self, off_s: float, *, unsure_s: float) -> None:
        is_wrong = abs(off_s) - unsure_s >= OFF_S
        if not is_wrong and max(abs(off_s), unsure_s) >= OFF_S:
            # It took too long to say.
            return
        self.off_s = off_s
        if is_wrong and not self._is_told:
            _log.warning(
                "worker.clock_off %s: its clock is %s: times in its logs, and in traces of what it does, do not match "
                "those of others; set it (NTP), or the store's",
                self._worker_id,
                off_in_words(off_s),
            )
        elif self._is_told and not is_wrong:
            _log.warning("worker.clock_right %s: its clock and the store's agree again", self._worker_id)
        self._is_told = is_wrong
