"""A journal store for tests that counts what it is asked, and fails, or lets a test act, at the n-th write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar

from coterie._rules.written import Change, Guard, Page
from coterie.errors import Unavailable
from coterie.ports import JournalStore
from coterie.ports.around import DurableAround

__all__ = ["FaultyJournalStore", "When"]

T = TypeVar("T")

When: TypeAlias = Literal["before", "after"]


class FaultyJournalStore(DurableAround[JournalStore]):
    """A `JournalStore` around another. Its writes are `write`, `change` and `remove`, numbered from 1 as they begin.

    script: by number and when, the exception that a write raises: "before" anything is written, or "after" it is, as
        when an answer is lost.
    on_write: called before and after each write, with its number; it may end the process. It is called first: what it
        raises is raised, too. A write that fails has no "after".

    calls: what was asked, as (what, run). writes: how many writes have begun.
    down: "refusing" fails every call; "mute" carries each out, but loses the answer, as a broken connection would.
    gate: while it is not set, calls wait before anything is done, and before they are numbered.
    """

    def __init__(
        self,
        wrapped: JournalStore,
        script: Mapping[tuple[int, When], Exception] | None = None,
        *,
        on_write: Callable[[int, When], None] | None = None,
    ) -> None:
        super().__init__(wrapped)
        self._script = dict(script or {})
        self._on_write = on_write
        self.calls: list[tuple[str, str]] = []
        self.writes = 0
        self.down: Literal["refusing", "mute"] | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def change(self, run: str, paths: Sequence[str], decide: Change[T]) -> T:
        """As the wrapped store, or as the script says."""
        number = await self._begin_write("change", run)
        return self._end_write(number, await self._wrapped.change(run, paths, decide))

    async def write(
        self, run: str, texts: Mapping[str, str | None], *, guard: Guard | None = None, shelf: str = ""
    ) -> None:
        """As the wrapped store, or as the script says."""
        number = await self._begin_write("write", run)
        await self._wrapped.write(run, texts, guard=guard, shelf=shelf)
        self._end_write(number, None)

    async def get(self, run: str, paths: Sequence[str]) -> tuple[dict[str, str], int]:
        """As the wrapped store, unless it is down."""
        await self._begin("get", run)
        return self._end(await self._wrapped.get(run, paths))

    async def read(self, run: str, shelf: str = "") -> dict[str, str]:
        """As the wrapped store, unless it is down."""
        await self._begin("read", run)
        return self._end(await self._wrapped.read(run, shelf))

    async def runs(self, *, limit: int, after: str | None = None) -> Page:
        """As the wrapped store, unless it is down."""
        await self._begin("runs", "")
        return self._end(await self._wrapped.runs(limit=limit, after=after))

    async def remove(self, run: str) -> bool:
        """As the wrapped store, or as the script says."""
        number = await self._begin_write("remove", run)
        return self._end_write(number, await self._wrapped.remove(run))

    async def aclose(self) -> None:
        """As the wrapped store."""
        await self._wrapped.aclose()

    async def _begin(self, what: str, run: str) -> None:
        self.calls.append((what, run))
        await self.gate.wait()
        if self.down == "refusing":
            raise Unavailable("the journal store is down; wait for it") from ConnectionRefusedError("down")

    def _end(self, result: T) -> T:
        if self.down == "mute":
            raise Unavailable("the journal store's answer is lost; wait for it") from ConnectionResetError("mute")
        return result

    async def _begin_write(self, what: str, run: str) -> int:
        await self._begin(what, run)
        self.writes += 1
        number = self.writes
        self._meet(number, "before")
        return number

    def _end_write(self, number: int, result: T) -> T:
        self._meet(number, "after")
        return self._end(result)

    def _meet(self, number: int, when: When) -> None:
        if self._on_write is not None:
            self._on_write(number, when)
        fault = self._script.get((number, when))
        if fault is not None:
            raise fault
