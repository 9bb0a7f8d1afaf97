"""Look at a state database without making it: where the file is not there yet, nothing is stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from coterie._rules.decided import Decide, State
from coterie.ports import Notice, Scope, StateStore

__all__ = ["Untouched"]

T = TypeVar("T")

_SQLITE = "sqlite://"


class Untouched:
    """A `StateStore` that is not made by reading it, where it is a file; the first change makes it."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    @property
    def is_made(self) -> bool:
        """Whether there is anything to look at; a file may appear at any time."""
        return not self.url.startswith(_SQLITE) or Path(self.url.removeprefix(_SQLITE)).exists()

    @property
    def url(self) -> str:
        """Where the state lies, without credentials."""
        return self._store.url

    @property
    def scope(self) -> Scope:
        """Who shares the state."""
        return self._store.scope

    @property
    def namespace(self) -> str:
        """What sets this deployment's keys apart."""
        return self._store.namespace

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        """See `StateStore.update`."""
        return await self._store.update(key, decide, keep_s=keep_s)

    async def read(self, key: str) -> tuple[State | None, int]:
        """See `StateStore.read`; of a file that is not there, nothing, and this machine's clock."""
        return await self._store.read(key) if self.is_made else (None, time.time_ns() // 1000)

    async def keys(self, kind: str) -> Sequence[str]:
        """See `StateStore.keys`; of a file that is not there, none."""
        return await self._store.keys(kind) if self.is_made else ()

    async def publish(self, channel: str, message: str) -> None:
        """See `StateStore.publish`."""
        await self._store.publish(channel, message)

    async def subscribe(self, channel: str, notice: Notice) -> None:
        """See `StateStore.subscribe`."""
        await self._store.subscribe(channel, notice)

    async def unsubscribe(self, channel: str, notice: Notice) -> None:
        """See `StateStore.unsubscribe`."""
        await self._store.unsubscribe(channel, notice)

    async def aclose(self) -> None:
        """See `StateStore.aclose`."""
        await self._store.aclose()
