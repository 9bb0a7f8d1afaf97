"""A state store around another: the ground of those that change only some of what it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from coterie._rules.decided import Decide, State
from coterie.ports import Notice, Scope, StateStore

__all__ = ["StateStoreAround"]

T = TypeVar("T")


class StateStoreAround:
    """A `StateStore` that hands everything on to another."""

    def __init__(self, wrapped: StateStore) -> None:
        self._wrapped = wrapped

    @property
    def url(self) -> str:
        """See `StateStore.url`."""
        return self._wrapped.url

    @property
    def scope(self) -> Scope:
        """See `StateStore.scope`."""
        return self._wrapped.scope

    @property
    def namespace(self) -> str:
        """See `StateStore.namespace`."""
        return self._wrapped.namespace

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        """See `StateStore.update`."""
        return await self._wrapped.update(key, decide, keep_s=keep_s)

    async def read(self, key: str) -> tuple[State | None, int]:
        """See `StateStore.read`."""
        return await self._wrapped.read(key)

    async def keys(self, kind: str) -> Sequence[str]:
        """See `StateStore.keys`."""
        return await self._wrapped.keys(kind)

    async def publish(self, channel: str, message: str) -> None:
        """See `StateStore.publish`."""
        await self._wrapped.publish(channel, message)

    async def subscribe(self, channel: str, notice: Notice) -> None:
        """See `StateStore.subscribe`."""
        await self._wrapped.subscribe(channel, notice)

    async def unsubscribe(self, channel: str, notice: Notice) -> None:
        """See `StateStore.unsubscribe`."""
        await self._wrapped.unsubscribe(channel, notice)

    async def aclose(self) -> None:
        """See `StateStore.aclose`."""
        await self._wrapped.aclose()
