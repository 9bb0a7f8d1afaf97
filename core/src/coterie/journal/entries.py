"""Texts on their way into a run's book: all that come while one write is under way go into the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from coterie._rules.written import Guard
from coterie.errors import CoterieError, Unavailable
from coterie.ids import WorkflowId
from coterie.ports import JournalStore

__all__ = ["Entries", "Told"]

T = TypeVar("T")

# What the texts of one write belong to, and None where they are durable, else what went wrong.
Told: TypeAlias = Callable[[Sequence[T], CoterieError | None], None]

# So many texts go into one write at most, and so many characters unless it is one text: a commit that takes long delays
# all that wait for it, and one that takes too long is none.
_TOGETHER = 1024
_TOGETHER_CHARS = 4 * 2**20


class Entries(Generic[T]):
    """Written in order, under one guard; after the first failure nothing more is.

    told: called in the event loop after each write.
    """

    def __init__(self, store: JournalStore, run: WorkflowId, guard: Guard, told: Told[T]) -> None:
        self._store = store
        self._run = run
        self._guard = guard
        self._told = told
        self._texts: dict[str, str | None] = {}
        self._waiting: list[T] = []
        self._writer: asyncio.Task[None] | None = None
        self._failed: CoterieError | None = None

    def add(self, path: str, text: str, about: T) -> None:
        """Write a text. about: what is told of once it is durable."""
        self._texts[path] = text
        self._waiting.append(about)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def aclose(self) -> None:
        """Wait until all is written, or has failed.

        Raises:
            CoterieError: it has.
        """
        if self._writer is not None:
            await asyncio.shield(self._writer)
        if self._failed is not None:
            raise self._failed

    async def _write(self) -> None:
        while self._waiting:
            await self._gather()
            texts, waiting = self._texts, self._waiting
            self._texts, self._waiting = {}, []
            for part in _parts(texts):
                if self._failed is None:
                    self._failed = await self._written(part)
            self._told(waiting, self._failed)
        self._writer = None

    async def _gather(self) -> None:
        """Let what ends in these ticks of the event loop come along, as long as each brings more."""
        before = 0
        while before < len(self._waiting) < _TOGETHER:
            before = len(self._waiting)
            await asyncio.sleep(0)

    async def _written(self, texts: dict[str, str | None]) -> CoterieError | None:
        try:
            await self._store.write(self._run, texts, guard=self._guard)
        except CoterieError as error:
            return error
        # Whatever it is, nothing is known to be durable: the run must not go on as if it were.
        except Exception as error:  # noqa: BLE001
            failure = Unavailable(f"the journal of {self._run!r} could not be written: {error!r}; report this")
            failure.__cause__ = error
            return failure
        return None


def _parts(texts: dict[str, str | None]) -> list[dict[str, str | None]]:
    """The same, in writes of a bearable size."""
    if sum(map(len, filter(None, texts.values()))) <= _TOGETHER_CHARS:
        return [texts]
    parts: list[dict[str, str | None]] = [{}]
    chars = 0
    for path, text in texts.items():
        chars += len(text or "")
        if chars > _TOGETHER_CHARS and parts[-1]:
            parts.append({})
            chars = len(text or "")
        parts[-1][path] = text
    return parts
