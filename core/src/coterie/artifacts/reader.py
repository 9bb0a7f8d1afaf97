"""Content read piece by piece from a coroutine."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Protocol, Self, TypeVar

from coterie.artifacts.chunk_file import close_chunks
from coterie.errors import Misuse

__all__ = ["ArtifactReader"]

T = TypeVar("T")


class InThread(Protocol):
    """Awaits a blocking function in a thread, for so long as a store may take."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Do it."""
        ...


class ArtifactReader:
    """Reads content from its beginning to its end, verified on the way; use it as an async context manager.

    The last piece comes only if all of the content is what its reference says: who has read to the end without an
    error has read the right thing. Left early, it holds nothing open.
    """

    def __init__(self, chunks: Iterator[bytes], in_thread: InThread) -> None:
        self._pull = _Pull(chunks)
        self._in_thread = in_thread
        self._rest = memoryview(b"")
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._next():
            yield chunk

    async def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, or all that are left; empty at the end.

        Raises:
            MissingArtifact, CorruptArtifact, Unavailable.
            Misuse: it is closed.
        """
        content = bytearray()
        while size < 0 or len(content) < size:
            chunk = await self._next()
            if not chunk:
                break
            wanted = len(chunk) if size < 0 else size - len(content)
            content += chunk[:wanted]
            self._rest = memoryview(chunk)[wanted:]
        return bytes(content)

    async def aclose(self) -> None:
        """Give up what is left; safe to call twice."""
        if not self._closed:
            self._closed = True
            await self._in_thread(self._pull.close)

    async def _next(self) -> bytes:
        if self._closed:
            raise Misuse("this reader is closed; open the artifact again")
        if self._rest:
            chunk, self._rest = bytes(self._rest), memoryview(b"")
            return chunk
        return await self._in_thread(self._pull.next)


class _Pull:
    """An iterator that one thread advances while another may want it closed: whoever is last closes it."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._busy = threading.Lock()
        self._closing = False

    def next(self) -> bytes:
        """The next chunk; empty at the end."""
        with self._busy:
            chunk = b"" if self._closing else next(self._chunks, b"")
        # Asked too late for the one who closed to do it, too early for the lock to be free.
        if self._closing:
            self.close()
        return chunk

    def close(self) -> None:
        """Close the iterator now, or as soon as the thread that advances it is done."""
        self._closing = True
        if self._busy.acquire(blocking=False):
            try:
                close_chunks(self._chunks)
            finally:
                self._busy.release()
