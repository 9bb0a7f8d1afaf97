"""Waiting, and a decision that counts, for the tests of Redis stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from coterie._rules.decided import Decided, State
from coterie._rules.timeline import moment
from coterie.errors import Unavailable
from coterie.ports import StateStore

__all__ = ["KEY", "WEDGED_S", "add", "all_closed", "eventually", "total", "until", "until_unavailable"]

# Longer than anything takes that is not wedged.
WEDGED_S = 30.0
KEY = "limit/counter"


class Closed(Protocol):
    """A store, a log or whatever else has to be closed."""

    async def aclose(self) -> None:
        """Close it."""


def add(old: State | None, now: int) -> Decided[int]:
    """Count by compare-and-set; its twin is `counting.count`, with which it may share a key."""
    before = old["total"] if old else 0
    assert isinstance(before, int)
    return Decided({**moment(old, now).stamp(), "total": before + 1}, before + 1)


@asynccontextmanager
async def all_closed() -> AsyncIterator[list[Closed]]:
    """What is put into the list is closed after the block, whatever has become of its server."""
    opened = list[Closed]()
    yield opened
    for each in opened:
        async with asyncio.timeout(WEDGED_S):
            await each.aclose()


async def eventually(use: Callable[[], Any]) -> Any:
    """What `use` returns once the store is back; it may be unavailable until then."""
    async with asyncio.timeout(WEDGED_S):
        while True:
            try:
                return await use()
            except Unavailable:
                await asyncio.sleep(0.01)


async def until(holds: Callable[[], bool]) -> None:
    """Look again and again: nothing tells us, as it happens in a server, or inside the store."""
    async with asyncio.timeout(WEDGED_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def until_unavailable(use: Callable[[], Any]) -> None:
    """Use it until that raises `Unavailable`; to be expected by the caller."""
    async with asyncio.timeout(WEDGED_S):
        while True:
            await use()


async def total(store: StateStore) -> int:
    """What was counted at `KEY`; 0 if nothing was."""
    state, _ = await eventually(lambda: store.read(KEY))
    return int(state["total"]) if state else 0
