"""Content to be stored, with its hash and size: what must be known before the first byte is sent."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, cast

from coterie.errors import Misuse

__all__ = ["COPY_BYTES", "Measured", "Spool", "checked_chunk", "chunks_of", "measure", "spooled_file"]

COPY_BYTES = 2**20
# A spool keeps this much in memory before it goes to disk.
IN_MEMORY_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Measured:
    """Content that lies in `file` from `start` to the end. settled: nobody else can write to it."""

    file: BinaryIO
    start: int
    sha256: str
    size_bytes: int
    settled: bool = False

    def reader(self) -> BinaryIO:
        """The content from its beginning; it refuses to end if it is not what was measured.

        Raises, when read:
            Misuse: somebody wrote to the file meanwhile.
        """
        self.file.seek(self.start)
        return self.file if self.settled else _Unchanged(self.file, self.sha256)


class Spool:
    """Takes content of unknown length: in memory at first, on disk when it gets longer."""

    def __init__(self) -> None:
        self._file = spooled_file(IN_MEMORY_BYTES)
        self._digest = hashlib.sha256()

    def take(self, chunk: bytes) -> None:
        """Add to it."""
        self._digest.update(chunk)
        self._file.write(chunk)

    def take_all(self, chunks: Iterable[bytes], stop: threading.Event) -> None:
        """Add all, unless told to stop."""
        for chunk in chunks:
            if stop.is_set():
                return
            self.take(checked_chunk(chunk))

    def measured(self) -> Measured:
        """All of it."""
        return Measured(self._file, 0, self._digest.hexdigest(), self._file.tell(), settled=True)

    def close(self) -> None:
        """Forget it. Whoever still reads it gets an error."""
        self._file.close()


def spooled_file(in_memory_bytes: int) -> BinaryIO:
    """A temporary file without a name, which is in memory while it is short."""
    from tempfile import SpooledTemporaryFile

    # A file in all but its type; whoever gets it closes it.
    return cast("BinaryIO", SpooledTemporaryFile(in_memory_bytes))


def measure(file: BinaryIO) -> Measured:
    """Read a file once, from where it stands to its end."""
    start = file.tell()
    digest, size_bytes = hashlib.sha256(), 0
    while chunk := file.read(COPY_BYTES):
        digest.update(chunk)
        size_bytes += len(chunk)
    return Measured(file, start, digest.hexdigest(), size_bytes)


def chunks_of(source: BinaryIO | Iterable[bytes]) -> Iterable[bytes]:
    """A file's content, or an iterable as it is."""
    if isinstance(source, bytes | bytearray | memoryview):
        return (bytes(source),)
    read = getattr(source, "read", None)
    return source if read is None else iter(lambda: read(COPY_BYTES), b"")


def checked_chunk(chunk: object) -> bytes:
    """Return what can be stored.

    Raises:
        Misuse: it is not bytes.
    """
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, (bytearray, memoryview)):
        return bytes(chunk)
    raise Misuse(f"the content came as {type(chunk).__name__}, not as bytes; open files in binary mode, encode text")


class _Unchanged(io.RawIOBase, BinaryIO):
    """Reads `source` and refuses to end if it is not what was hashed: an object must be what its name says."""

    def __init__(self, source: BinaryIO, sha256: str) -> None:
        self._source = source
        self._sha256 = sha256
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        self._digest.update(chunk)
        if not chunk or size < 0:
            self._check()
        return chunk

    def _check(self) -> None:
        if self._digest.hexdigest() != self._sha256:
            raise Misuse("the content changed while it was stored; store it when nobody writes to it any more")
