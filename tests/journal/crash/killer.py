"""Where a process is to be killed: at the n-th of its writes, before or after it."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias

from coterie.ports import Blob, BlobStore

__all__ = ["KilledBlobs", "Killer", "Point", "What", "When"]

What: TypeAlias = Literal["journal", "artifact", "bill"]
When: TypeAlias = Literal["before", "after"]


class Point(NamedTuple):
    """The `number`-th write of a process, from 1. victim: the process to be killed; 0: the writer's own group."""

    what: What
    number: int
    when: When
    victim: int = 0

    def __str__(self) -> str:
        return f"{self.when}-{self.what}-{self.number}"


class Killer:
    """Counts the writes of its process, and kills at one of them; nothing of the process goes on after that."""

    def __init__(self, point: Sequence[Any] | None) -> None:
        self._point = None if point is None else Point(*point)
        self._seen: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """How many writes there were, by what was written."""
        return dict(self._seen)

    def meet(self, what: What, number: int, when: When) -> None:
        """Called before and after each write."""
        if when == "before":
            self._seen[what] = max(self._seen[what], number)
        if self._point is not None and self._point[:3] == (what, number, when):
            self._kill(self._point.victim)

    def next(self, what: What) -> int:
        """The number of a write that begins."""
        self._seen[what] += 1
        return self._seen[what]

    @staticmethod
    def _kill(victim: int) -> None:
        if victim:
            os.kill(victim, signal.SIGKILL)
        else:
            os.killpg(0, signal.SIGKILL)


class KilledBlobs:
    """A `BlobStore` whose writes a killer meets."""

    def __init__(self, wrapped: BlobStore, killer: Killer) -> None:
        self._wrapped = wrapped
        self._killer = killer

    @property
    def root(self) -> str:
        return self._wrapped.root

    def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:
        number = self._killer.next("artifact")
        self._killer.meet("artifact", number, "before")
        self._wrapped.write(name, source, size_bytes=size_bytes)
        self._killer.meet("artifact", number, "after")

    def size_bytes(self, name: str) -> int | None:
        return self._wrapped.size_bytes(name)

    def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        return self._wrapped.chunks(name, chunk_bytes=chunk_bytes)

    def refresh(self, name: str) -> bool:
        return self._wrapped.refresh(name)

    def entries(self, folder: str) -> Iterator[Blob]:
        return self._wrapped.entries(folder)

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        return self._wrapped.delete(blobs)

    def clock_s(self) -> float:
        return self._wrapped.clock_s()
