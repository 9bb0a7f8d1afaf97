"""Chunks of bytes as a file that is read once, from the beginning to the end."""

from __future__ import annotations

import io
from collections.abc import Iterator

from typing_extensions import Buffer

__all__ = ["ChunkFile", "close_chunks"]


class ChunkFile(io.RawIOBase):
    """Reads what `chunks` gives; closing it closes them."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """It is, until it is closed."""
        return not self.closed

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer from one chunk; 0 at the end."""
        target = memoryview(buffer).cast("B")
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def read_exactly(self, count: int) -> bytes:
        """That many bytes, or all that are left."""
        content = bytearray()
        while len(content) < count and (more := self.read(count - len(content))):
            content += more
        return bytes(content)

    def close(self) -> None:
        """Give up the rest, and what it comes from."""
        if not self.closed:
            close_chunks(self._chunks)
        super().close()


def close_chunks(chunks: Iterator[bytes]) -> None:
    """Close what has something to close, as generators have."""
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
