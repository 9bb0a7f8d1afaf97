"""What the contract of journal stores is made with: second handles, small decisions, and how to look at all runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest

from coterie._rules.written import Changed, Page
from coterie.ports import JournalStore

__all__ = ["JournalHandles", "Texts", "all_pages", "all_runs", "count_up", "look", "put", "take_over"]

Texts: TypeAlias = Mapping[str, str | None]


class JournalHandles:
    """How the contract comes by a second handle."""

    async def another(
        self,
        store: JournalStore,  # noqa: ARG002  # for those who override it
        *,
        namespace: str | None = None,  # noqa: ARG002  # for those who override it
    ) -> JournalStore | None:
        """A second handle on the same texts, as another process would have it; the contract closes it.

        namespace: the second handle's own; by default that of `store`. None comes back where there can be none.
        """
        return None

    @asynccontextmanager
    async def second(self, store: JournalStore, *, namespace: str | None = None) -> AsyncIterator[JournalStore]:
        """Such a handle, closed at the end; without one, the test is skipped."""
        other = await self.another(store, namespace=namespace)
        if other is None:
            pytest.skip("this store has one handle only")
        try:
            yield other
        finally:
            await other.aclose()


def count_up(path: str = "n") -> Callable[[Texts, int], Changed[int]]:
    """Count up by one at `path`; the number is the result."""

    def decide(texts: Texts, now: int) -> Changed[int]:
        number = int(texts[path] or 0) + 1
        return Changed({path: str(number)}, number)

    return decide


def put(texts: Texts) -> Callable[[Texts, int], Changed[None]]:
    """Write these texts, whatever was there."""
    return lambda _texts, _now: Changed(texts, None)


def look(texts: Texts, now: int) -> Changed[tuple[dict[str, str | None], int]]:
    """Change nothing; what was given, and when, is the result."""
    return Changed({}, (dict(texts), now))


def take_over(path: str, mine: str) -> Callable[[Texts, int], Changed[str | None]]:
    """Write `mine` at `path`; what was there before is the result."""
    return lambda texts, _now: Changed({path: mine}, texts[path])


async def all_pages(store: JournalStore, *, limit: int) -> list[Page]:
    """All pages of the list of runs, which has an end."""
    pages = [await store.runs(limit=limit)]
    while pages[-1].after is not None:
        pages.append(await store.runs(limit=limit, after=pages[-1].after))
        cursors = [page.after for page in pages]
        assert len(set(cursors)) == len(cursors), "a cursor leads back to itself"
    return pages


async def all_runs(store: JournalStore, *, limit: int = 100) -> list[str]:
    """The names of all runs, the one begun last first."""
    return [entry.run for page in await all_pages(store, limit=limit) for entry in page.runs]
