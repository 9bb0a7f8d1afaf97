"""Stores for the pool's tests, in memory and on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from coterie.pool import ResourcePool
from coterie.ports import StateStore
from coterie.stores.memory import MemoryStateStore
from coterie.stores.sqlite import SqliteStateStore
from tests.fleet.pool.callers import Open

Handles: TypeAlias = Callable[[], StateStore]


@pytest.fixture(params=["memory", "sqlite"])
async def another(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Handles]:
    """Makes handles on one and the same state, each as another process would have it."""
    shared = MemoryStateStore()
    made: list[StateStore] = [shared]

    def handle() -> StateStore:
        if request.param == "memory":
            return shared
        made.append(SqliteStateStore(tmp_path / "state.db"))
        return made[-1]

    yield handle
    for store in made:
        await store.aclose()


@pytest.fixture
async def pools(another: Handles) -> AsyncIterator[Open]:
    """Makes pools on one state, each with a handle of its own; closed at the end."""
    async with AsyncExitStack() as stack:
        opened: list[ResourcePool] = []

        def make(agent_type: str | None = "linter", **arguments: object) -> ResourcePool:
            opened.append(ResourcePool(agent_type, **{"store": another(), **arguments}))  # type: ignore[arg-type]
            stack.push_async_callback(opened[-1].aclose)
            return opened[-1]

        yield make
