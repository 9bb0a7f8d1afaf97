"""State stores around others: one that counts what it is asked, and fails or stalls when told."""

from __future__ import annotations

import asyncio
from typing import Any

from coterie.errors import Unavailable
from coterie.ports import StateStore
from coterie.ports.around import StateStoreAround

__all__ = ["Watched"]


class Watched(StateStoreAround):
    """Counts `updates`; `fail` of the next ones raise Unavailable, `after` says whether they were made nevertheless.

    While `gate` is clear, updates wait before they are made.
    """

    def __init__(self, store: StateStore) -> None:
        super().__init__(store)
        self.updates = 0
        self.fail = 0
        self.after = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def update(self, key: str, decide: Any, *, keep_s: float | None = None) -> Any:
        self.updates += 1
        await self.gate.wait()
        if not self.fail:
            return await self._wrapped.update(key, decide, keep_s=keep_s)
        self.fail -= 1
        if self.after:
            await self._wrapped.update(key, decide, keep_s=keep_s)
        raise Unavailable("the store is away, as the test tells")
