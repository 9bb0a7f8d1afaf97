"""State stores around others: one that counts what it is asked, and fails or stalls when told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from coterie.errors import Unavailable
from coterie.ports import Notice, StateStore

__all__ = ["Watched"]


class Watched:
    """Counts `updates`; `fail` of the next ones raise Unavailable, `after` says whether they were made nevertheless.

    While `gate` is clear, updates wait before they are made.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self.updates = 0
        self.fail = 0
        self.after = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.url, self.scope, self.namespace = store.url, store.scope, store.namespace

    async def update(self, key: str, decide: Any, *, keep_s: float | None = None) -> Any:
        self.updates += 1
        await self.gate.wait()
        if not self.fail:
            return await self._store.update(key, decide, keep_s=keep_s)
        self.fail -= 1
        if self.after:
            await self._store.update(key, decide, keep_s=keep_s)
        raise Unavailable("the store is away, as the test tells")

    async def read(self, key: str) -> tuple[Any, int]:
        return await self._store.read(key)

    async def keys(self, kind: str) -> Sequence[str]:
        return await self._store.keys(kind)

    async def publish(self, channel: str, message: str) -> None:
        await self._store.publish(channel, message)

    async def subscribe(self, channel: str, notice: Notice) -> None:
        await self._store.subscribe(channel, notice)

    async def unsubscribe(self, channel: str, notice: Notice) -> None:
        await self._store.unsubscribe(channel, notice)

    async def aclose(self) -> None:
        await self._store.aclose()
