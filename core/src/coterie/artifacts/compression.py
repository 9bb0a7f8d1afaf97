"""Content as a zstd file (RFC 8878) that says what is in it.

In front of the compressed frame stands a frame that decompressors skip. It tells the digest and size of the content,
and how long the whole file is: so a torn file is known by its first 64 bytes, as a torn plain one is by its size, and
`zstd -d` reads it all the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import BinaryIO, NamedTuple

from coterie.artifacts.chunk_file import ChunkFile
from coterie.artifacts.measured import COPY_BYTES, spooled_file
from coterie.errors import CorruptArtifact, Misuse
from coterie.ref import Ref

__all__ = ["HEADER_BYTES", "MIN_BYTES", "Header", "compress", "decompress", "require_zstandard"]

# Less than a disk's block is not worth a second look.
MIN_BYTES = 4096
HEADER_BYTES = 64
_HEADER = struct.Struct("<4sI8s32sQQ")
_SKIPPED = b"\x5c\x2a\x4d\x18"
_MARK = b"coterie\x01"
_LEVEL = 3
# What levels up to 19 use; a frame that asks for more memory than that was not made here.
_MAX_WINDOW_BYTES = 2**23
_IN_MEMORY_BYTES = 8 * 2**20
# If the first of it does not shrink by a sixteenth, the rest is taken for no better.
_WORTH = 15 / 16


class Header(NamedTuple):
    """What the first frame tells. size_bytes: of the content; stored_bytes: of the whole file."""

    sha256: str
    size_bytes: int
    stored_bytes: int

    @classmethod
    def read(cls, beginning: bytes) -> Header | None:
        """The header of a file that begins like that, or None."""
        if len(beginning) < HEADER_BYTES:
            return None
        skipped, length, mark, digest, size_bytes, frame_bytes = _HEADER.unpack(beginning[:HEADER_BYTES])
        if (skipped, length, mark) != (_SKIPPED, HEADER_BYTES - 8, _MARK):
            return None
        return cls(digest.hex(), size_bytes, HEADER_BYTES + frame_bytes)

    def written(self) -> bytes:
        """Its 64 bytes."""
        digest, frame_bytes = bytes.fromhex(self.sha256), self.stored_bytes - HEADER_BYTES
        return _HEADER.pack(_SKIPPED, HEADER_BYTES - 8, _MARK, digest, self.size_bytes, frame_bytes)


def compress(source: BinaryIO, sha256: str, size_bytes: int) -> tuple[BinaryIO, int] | None:
    """The file for what `source` still holds, and its size; None if it would not be smaller by much."""
    spool = spooled_file(_IN_MEMORY_BYTES)
    try:
        spool.write(bytes(HEADER_BYTES))
        if _fill(spool, source, size_bytes) and spool.tell() < size_bytes:
            stored_bytes = spool.tell()
            spool.seek(0)
            spool.write(Header(sha256, size_bytes, stored_bytes).written())
            spool.seek(0)
            return spool, stored_bytes
    except BaseException:
        spool.close()
        raise
    spool.close()
    return None


def decompress(chunks: Iterator[bytes], ref: Ref, *, chunk_bytes: int) -> Iterator[bytes]:
    """What a file holds, `chunk_bytes` at a time: no more is in memory, however much a few bytes unfold to.

    Raises:
        CorruptArtifact: it is no such file.
    """
    zstd = require_zstandard()
    with ChunkFile(chunks) as source:
        if Header.read(source.read_exactly(HEADER_BYTES)) is None:
            raise _corrupt(ref, "it does not begin as one")
        reader = zstd.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).stream_reader(source)
        try:
            while chunk := reader.read(chunk_bytes):
                yield chunk
        except zstd.ZstdError as error:
            raise _corrupt(ref, str(error)) from error


def require_zstandard() -> ModuleType:
    """The package that compresses.

    Raises:
        Misuse: it is not installed.
    """
    try:
        return import_module("zstandard")
    except ImportError as error:
        raise Misuse(
            "compressed artifacts need a package that is not installed: pip install 'coterie[zstd]'"
        ) from error


def _fill(spool: BinaryIO, source: BinaryIO, size_bytes: int) -> bool:
    """Write the frame; False if its first part does not shrink enough."""
    zstd = require_zstandard()
    compressor = zstd.ZstdCompressor(level=_LEVEL).compressobj(size=size_bytes)
    first = source.read(COPY_BYTES)
    spool.write(compressor.compress(first) + compressor.flush(zstd.COMPRESSOBJ_FLUSH_BLOCK))
    if spool.tell() > _WORTH * len(first):
        return False
    while chunk := source.read(COPY_BYTES):
        spool.write(compressor.compress(chunk))
    spool.write(compressor.flush())
    return True


def _corrupt(ref: Ref, why: str) -> CorruptArtifact:
    return CorruptArtifact(
        f"the compressed form of {ref.uri[:200]!r} is no zstd file of ours: {why}; delete the object with '.zst' "
        "behind its name, and run the task that wrote it again"
    )
