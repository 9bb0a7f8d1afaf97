"""What the callers in the pool's tests do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from coterie.pool import ResourcePool

__all__ = ["PATIENCE_S", "Open", "hold", "in_use", "until_waiting"]

# How long a test waits for what must come: only a loss takes so long.
PATIENCE_S = 20.0
Open: TypeAlias = Callable[..., ResourcePool]


async def until_waiting(pool: ResourcePool, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sum((await pool.refresh()).waiting.values()) != count:  # noqa: ASYNC110  # another pool's
            await asyncio.sleep(0)


async def in_use(pool: ResourcePool) -> tuple[int, int]:
    status = await pool.refresh()
    return status.in_use, sum(status.waiting.values())


async def hold(pool: ResourcePool, order: list[str], name: str, **wanted: Any) -> None:
    async with pool.lease(**wanted):
        order.append(name)
