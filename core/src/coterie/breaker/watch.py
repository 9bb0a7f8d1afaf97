"""Look at the store now and then: for signals that were lost, or until it answers again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from coterie.work import Work

__all__ = ["Watch"]

# The first look after the store has failed; then twice as long each time, up to the usual period.
FIRST_S = 0.1


class Watch:
    """Looks every `period_s`, varied by a quarter; while the store is away, sooner at first.

    look: learns what holds. recover: answers whether the store is back. stopped: called when the event loop ends it.
    """

    def __init__(
        self,
        work: Work,
        period_s: float,
        *,
        look: Callable[[], Awaitable[None]],
        recover: Callable[[], Awaitable[bool]],
        stopped: Callable[[], None],
    ) -> None:
        self._work = work
        self._period_s = period_s
        self._look = look
        self._recover = recover
        self._stopped = stopped
        self._away = False
        self._over = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def keep(self, *, away: bool) -> None:
        """Watch from now on; `away`: for a store that does not answer."""
        self._over = False
        if away != self._away:
            self._away = away
            self._changed.set()
        if self._task is None or self._task.done():
            self._task = self._work.start(self._watch())

    def rest(self) -> None:
        """Look no more, until told to keep watch again."""
        self._over = True
        self._changed.set()

    def stop(self) -> None:
        """Look no more, since all ends."""
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        delay_s = self._period_s
        try:
            while not self._over:
                if self._changed.is_set():
                    self._changed.clear()
                    delay_s = min(FIRST_S, self._period_s) if self._away else self._period_s
                if await self._changed_within(delay_s * random.uniform(0.75, 1.25)):  # noqa: S311 - spreads load
                    continue
                if not self._away:
                    await self._look()
                elif not await self._recover():
                    delay_s = min(2 * delay_s, self._period_s)
        except asyncio.CancelledError:
            self._stopped()
            raise

    async def _changed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._changed.wait()
        except TimeoutError:
            return False
