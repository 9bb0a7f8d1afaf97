"""A fleet in one process: one state store, one log and one journal that callers and workers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from coterie import Team
from coterie.artifacts import ArtifactStore
from coterie.journal import Journal
from coterie.remote import Call, RemoteCalls, Worker
from coterie.runtime import Runtime
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.log_memory import MemoryLogStore
from coterie.stores.memory import MemoryStateStore
from coterie.task import Task

PATIENCE_S = 20.0


@dataclass
class Fleet:
    """Stores, and what is made with them."""

    store: MemoryStateStore = field(default_factory=MemoryStateStore)
    log: MemoryLogStore = field(default_factory=MemoryLogStore)
    books: MemoryJournalStore = field(default_factory=MemoryJournalStore)
    artifacts: ArtifactStore | None = None
    held: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def runtime(self, team: Team, *, journal: bool = True, **more: Any) -> Runtime:
        """A process's runtime: here one of several in this one."""
        given = Runtime(
            team,
            store=self.store,
            log=self.log,
            artifacts=self.artifacts,
            journal=Journal(self.books) if journal else False,
            **more,
        )
        return await self.held.enter_async_context(given)

    @asynccontextmanager
    async def worker(self, team: Team, **more: Any) -> AsyncIterator[Worker]:
        """A worker at work, which is stopped in the end."""
        worker = Worker(await self.runtime(team), **more)
        work = asyncio.create_task(worker.run())
        try:
            await until(lambda: worker.status()["ready"] is True or work.done())
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(work, PATIENCE_S)

    @property
    def calls(self) -> RemoteCalls:
        """The way to workers, without an orchestrator."""
        return RemoteCalls(self.store, self.log, artifacts=self.artifacts)


async def until(holds: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Wait for what another task brings about."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  # of many kinds, and only tests wait for them
            await asyncio.sleep(0.005)


async def eventually(holds: Callable[[], Awaitable[object]], within_s: float = PATIENCE_S) -> None:
    """As `until`, of what has to be asked for."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)


def call_of(task: Task, **more: Any) -> Call:
    """A call of a task of the run `r`."""
    return Call.of(task, namespace="default", workflow_id="r", **more)
