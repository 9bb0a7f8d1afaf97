"""What the contract of state stores is made with: second handles, small decisions, and a subscriber that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest

from coterie._rules.decided import Decided, Signal, State
from coterie.ports import StateStore

__all__ = ["PATIENCE_S", "Handles", "Inbox", "add", "ignore", "look", "number_in", "put", "what_time"]

# How long a test waits for what must come: far longer than any store takes, so that only a loss fails.
PATIENCE_S = 20.0

Put: TypeAlias = Callable[[State | None, int], Decided[None]]


class Handles:
    """How the contract comes by a second handle."""

    async def another(
        self,
        store: StateStore,  # noqa: ARG002  # for those who override it
        *,
        namespace: str | None = None,  # noqa: ARG002  # for those who override it
    ) -> StateStore | None:
        """A second handle on the same state, as another process would have it; the contract closes it.

        namespace: the second handle's own; by default that of `store`. None comes back where there can be none.
        """
        return None

    @asynccontextmanager
    async def second(self, store: StateStore, *, namespace: str | None = None) -> AsyncIterator[StateStore]:
        """Such a handle, closed at the end; without one, the test is skipped."""
        other = await self.another(store, namespace=namespace)
        if other is None:
            pytest.skip("this store has one handle only")
        try:
            yield other
        finally:
            await other.aclose()


class Inbox:
    """A notice that remembers what it was told, in order."""

    def __init__(self) -> None:
        self.messages: list[str | None] = []
        self._news = asyncio.Event()

    def __call__(self, message: str | None) -> None:
        self.messages.append(message)
        self._news.set()

    async def until(self, count: int) -> list[str | None]:
        """Wait until `count` messages have come."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.messages) < count:
                await self._more()
        return self.messages

    async def until_told_of(self, message: str) -> list[str | None]:
        """Wait until `message` has come, or word that something was lost after all that was awaited before."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.messages or self.messages[-1] not in (message, None):
                await self._more()
        return self.messages

    async def _more(self) -> None:
        self._news.clear()
        await self._news.wait()


def put(state: State | None, *signals: Signal) -> Put:
    """Decide on a state, whatever was there."""
    return lambda _old, _now: Decided(state, None, signals)


def add(old: State | None, now: int) -> Decided[int]:
    """Count up by one."""
    count = number_in(old, "n") + 1
    return Decided({"n": count}, count)


def look(old: State | None, now: int) -> Decided[State | None]:
    """Change nothing; the state is the result."""
    return Decided(old, old)


def what_time(old: State | None, now: int) -> Decided[int]:
    """Change nothing; the store's clock is the result."""
    return Decided(old, now)


def number_in(state: State | None, name: str) -> int:
    """A number of a state; 0 where there is none."""
    value = state.get(name, 0) if state is not None else 0
    assert isinstance(value, int)
    return value


def ignore(message: str | None) -> None:
    """A notice that does nothing."""
