"""A state store for tests that counts what it is asked, and fails when told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, TypeVar

from coterie._rules.decided import Decide, State
from coterie.errors import Unavailable
from coterie.ports import Notice, StateStore
from coterie.ports.around import StateStoreAround

__all__ = ["FaultyStateStore"]

T = TypeVar("T")


class FaultyStateStore(StateStoreAround):
    """A `StateStore` around another; `calls` lists what was asked of it, as (what, key or channel).

    faults: by `update`, `read`, `keys`, `publish` or `subscribe`, the exceptions that its next calls raise, one each;
        None lets a call pass.
    down: "refusing" fails every call; "mute" carries each out, but loses the answer, as a broken connection would.
    gate: while it is not set, calls wait before anything is done.
    deaf: signals are lost.
    """

    def __init__(self, wrapped: StateStore, **faults: list[Exception | None]) -> None:
        super().__init__(wrapped)
        self._faults = faults
        self._notices: dict[tuple[str, Notice], Notice] = {}
        self.calls: list[tuple[str, str]] = []
        self.down: Literal["refusing", "mute"] | None = None
        self.deaf = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        """As the wrapped store, or the next fault."""
        await self._before("update", key)
        return self._after(await self._wrapped.update(key, decide, keep_s=keep_s))

    async def read(self, key: str) -> tuple[State | None, int]:
        """As the wrapped store, or the next fault."""
        await self._before("read", key)
        return self._after(await self._wrapped.read(key))

    async def keys(self, kind: str) -> Sequence[str]:
        """As the wrapped store, or the next fault."""
        await self._before("keys", kind)
        return self._after(await self._wrapped.keys(kind))

    async def publish(self, channel: str, message: str) -> None:
        """As the wrapped store, or the next fault."""
        await self._before("publish", channel)
        await self._wrapped.publish(channel, message)
        self._after(None)

    async def subscribe(self, channel: str, notice: Notice) -> None:
        """As the wrapped store, or the next fault."""
        await self._before("subscribe", channel)

        def hear(message: str | None) -> None:
            if not self.deaf:
                notice(message)

        await self._wrapped.subscribe(channel, self._notices.setdefault((channel, notice), hear))
        self._after(None)

    async def unsubscribe(self, channel: str, notice: Notice) -> None:
        """As the wrapped store."""
        self.calls.append(("unsubscribe", channel))
        await self._wrapped.unsubscribe(channel, self._notices.pop((channel, notice), notice))

    def tell_of_a_loss(self) -> None:
        """Tell all who listen that signals may have been missed, as after a reconnection."""
        for _, notice in tuple(self._notices):
            notice(None)

    async def _before(self, what: str, where: str) -> None:
        self.calls.append((what, where))
        await self.gate.wait()
        pending = self._faults.get(what)
        fault = pending.pop(0) if pending else None
        if fault is not None:
            raise fault
        if self.down == "refusing":
            raise Unavailable(f"the store of {where!r} is down; wait for it") from ConnectionRefusedError("down")

    def _after(self, result: T) -> T:
        if self.down == "mute":
            raise Unavailable("the store's answer is lost; wait for it") from ConnectionResetError("mute")
        return result
