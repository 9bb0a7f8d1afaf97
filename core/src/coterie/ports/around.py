"""Stores around others: the ground of those that change only some of what the other one does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from coterie._rules.decided import Decide, State
from coterie.ports.state import StateStore
from coterie.ports.words import Durability, Notice, Scope

__all__ = ["Around", "DurableAround", "StateStoreAround"]

T = TypeVar("T")


class _Placed(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def namespace(self) -> str: ...


class _Durable(_Placed, Protocol):
    @property
    def durability(self) -> Durability: ...


PlacedT = TypeVar("PlacedT", bound=_Placed)
DurableT = TypeVar("DurableT", bound=_Durable)


class Around(Generic[PlacedT]):
    """A store that lies where another does."""

    def __init__(self, wrapped: PlacedT) -> None:
        self._wrapped = wrapped

    @property
    def url(self) -> str:
        """The wrapped store's."""
        return self._wrapped.url

    @property
    def scope(self) -> Scope:
        """The wrapped store's."""
        return self._wrapped.scope

    @property
    def namespace(self) -> str:
        """The wrapped store's."""
        return self._wrapped.namespace


class DurableAround(Around[DurableT]):
    """One that is also as durable as another."""

    @property
    def durability(self) -> Durability:
        """The wrapped store's."""
        return self._wrapped.durability


class StateStoreAround(Around[StateStore]):
    """A `StateStore` that hands everything on to another."""

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
