"""A store that can be taken away, counts what is asked of it, and can keep an answer to itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from coterie._rules.decided import Decide
from coterie.errors import Unavailable
from coterie.stores.memory import MemoryStateStore

T = TypeVar("T")


class FlakyStore(MemoryStateStore):
    """down: every update fails. updates: how many were asked for."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.down = False
        self.updates = 0
        self._answer: asyncio.Event | None = None
        self.decided = asyncio.Event()

    async def asked(self, count: int) -> None:
        """Until so many updates were asked for."""
        while self.updates < count:  # noqa: ASYNC110  # the loop itself has to go on
            await asyncio.sleep(0)

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        self.updates += 1
        if self.down:
            raise Unavailable("the store is away")
        result = await super().update(key, decide, keep_s=keep_s)
        self.decided.set()
        if self._answer is not None:
            await self._answer.wait()
        return result

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        """Decisions are made, but nobody hears of them until the end."""
        self._answer, self.decided = asyncio.Event(), asyncio.Event()
        try:
            yield
        finally:
            self._answer.set()
            self._answer = None
