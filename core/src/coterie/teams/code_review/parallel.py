"""Do the same for many files, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from coterie._threads import in_thread

__all__ = ["for_each", "in_thread"]

T = TypeVar("T")


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]], *, parallel: int = 16) -> None:
    """Await `work` for every item, at most `parallel` at a time; the first error ends all and is raised."""
    pending = iter(items)

    async def take() -> None:
        for item in pending:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(parallel):
                group.create_task(take())
    except ExceptionGroup as errors:
        # One cause is enough, and callers catch the store's own classes.
        raise errors.exceptions[0] from None
