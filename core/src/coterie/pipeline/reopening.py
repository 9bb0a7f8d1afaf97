"""Those who wait for a circuit breaker of this process's agents go on soon after somebody closes it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from coterie.work import Work

__all__ = ["LOOK_S", "Reopening"]

# How often the breakers are looked at while anybody waits: once for all that wait in this process.
LOOK_S = 2.0
# Those who waited together go on within this time, not all at once.
_APART_S = 0.5


class Reopening:
    """One gate's; for one event loop.

    is_open: asks the breakers, and the store that they share, whether calls pass freely again: not whether one may try,
    for which each waits as long as it was told to.
    """

    def __init__(self, is_open: Callable[[], Awaitable[bool]]) -> None:
        self._is_open = is_open
        self._work = Work()
        self._watch: _Watch | None = None

    async def wait(self, longest_s: float) -> bool:
        """Wait so long; less, and True, if calls pass freely again before."""
        if longest_s <= LOOK_S:
            await asyncio.sleep(longest_s)
            return False
        watch = self._watch
        if watch is None or watch.looking.done():
            opened = asyncio.Event()
            self._watch = watch = _Watch(opened, self._work.start(self._look(opened)))
        watch.waiting += 1
        try:
            async with asyncio.timeout(longest_s):
                await watch.opened.wait()
                await asyncio.sleep(random.random() * _APART_S)  # noqa: S311  # spreads load, no secret
        except TimeoutError:
            return watch.opened.is_set()
        finally:
            watch.waiting -= 1
            if not watch.waiting:
                watch.looking.cancel()
                self._watch = None if self._watch is watch else self._watch
        return True

    async def _look(self, opened: asyncio.Event) -> None:
        while not opened.is_set():
            await asyncio.sleep(LOOK_S)
            if await self._is_open():
                opened.set()


@dataclass(slots=True)
class _Watch:
    """Of those who wait together. waiting: how many."""

    opened: asyncio.Event
    looking: asyncio.Task[None]
    waiting: int = 0
