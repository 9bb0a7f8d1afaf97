"""How many threads one store keeps busy at a time."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

__all__ = ["Lanes"]


class Lanes:
    """At most `limit` at once, for each event loop that uses the store; others wait their turn."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    def here(self) -> asyncio.Semaphore:
        """The running loop's own, to be held while a thread works."""
        # No lock: a loop runs in one thread, so no two ask for the same one.
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            found = self._by_loop[loop] = asyncio.Semaphore(self._limit)
        return found
