"""A store that is away is asked again until it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TypeVar

from coterie._rules.written import Change, Guard, Page
from coterie.errors import CoterieError, Unavailable
from coterie.journal.outage import Outage
from coterie.ports import JournalStore
from coterie.ports.around import DurableAround

__all__ = ["InsistingStore", "insisted", "insistence_s", "insisting"]

T = TypeVar("T")

_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.1, 2.0

_insists: ContextVar[float | None] = ContextVar("coterie_insists", default=None)


@contextmanager
def insisting(seconds: float) -> Iterator[None]:
    """Work that begins within this block insists, for so long, on what it writes to the journal."""
    token = _insists.set(seconds)
    try:
        yield
    finally:
        _insists.reset(token)


def insistence_s() -> float | None:
    """For how long the work that begins here insists; None: it does not."""
    return _insists.get()


async def insisted(work: Callable[[], Awaitable[T]], *, seconds: float, outage: Outage, who: str) -> T:
    """Do what a store may be away for, again and again, for at most so long; whoever cancels it is heard at once.

    Raises:
        Unavailable: it is away for longer.
    """
    loop = asyncio.get_running_loop()
    wait_s, give_up_at = _FIRST_RETRY_S, loop.time() + seconds
    while True:
        asked_at = loop.time()
        try:
            done = await work()
        except Unavailable as error:
            if loop.time() + wait_s > give_up_at:
                raise
            outage.failed(who, error, after_s=loop.time() - asked_at)
        except CoterieError:
            # It has answered: with a refusal.
            outage.answered()
            raise
        else:
            outage.answered()
            return done
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_RETRY_S)


class InsistingStore(DurableAround[JournalStore]):
    """A `JournalStore` around another, for work that was done and would be done again if it were not written.

    `write` and `read` are insisted on for `seconds`: the same texts under the same guard can be written twice. Whoever
    was replaced meanwhile is refused as ever. All else fails as the wrapped store does. It stays its opener's.
    """

    def __init__(self, wrapped: JournalStore, seconds: float, outage: Outage) -> None:
        super().__init__(wrapped)
        self._seconds = seconds
        self._outage = outage

    async def change(self, run: str, paths: Sequence[str], decide: Change[T]) -> T:
        """As the wrapped store."""
        return await self._wrapped.change(run, paths, decide)

    async def write(
        self, run: str, texts: Mapping[str, str | None], *, guard: Guard | None = None, shelf: str = ""
    ) -> None:
        """As the wrapped store, once that answers."""
        write = partial(self._wrapped.write, run, texts, guard=guard, shelf=shelf)
        await insisted(write, seconds=self._seconds, outage=self._outage, who=f"the record of {run!r}")

    async def get(self, run: str, paths: Sequence[str]) -> tuple[dict[str, str], int]:
        """As the wrapped store."""
        return await self._wrapped.get(run, paths)

    async def read(self, run: str, shelf: str = "") -> dict[str, str]:
        """As the wrapped store, once that answers."""
        read = partial(self._wrapped.read, run, shelf)
        return await insisted(read, seconds=self._seconds, outage=self._outage, who=f"the steps of {run!r}")

    async def runs(self, *, limit: int, after: str | None = None) -> Page:
        """As the wrapped store."""
        return await self._wrapped.runs(limit=limit, after=after)

    async def remove(self, run: str) -> bool:
        """As the wrapped store."""
        return await self._wrapped.remove(run)

    async def aclose(self) -> None:
        """Nothing: whoever opened the wrapped store closes it."""
