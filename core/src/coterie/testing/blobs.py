"""Blob stores for tests: one in memory, one that fails on demand, and the contract of all of them."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import pytest

from coterie.errors import MissingArtifact, Unavailable
from coterie.ports import BlobStore

__all__ = ["BlobStoreContract", "FaultyBlobs", "MemoryBlobs"]


class MemoryBlobs:
    """A `BlobStore` that is a dictionary: `objects` holds what is stored, by name."""

    def __init__(self, root: str = "test://blobs") -> None:
        self.root = root
        self.objects: dict[str, bytes] = {}

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None."""
        content = self.objects.get(name)
        return None if content is None else len(content)

    def write(self, name: str, source: BinaryIO) -> None:
        """Store all of `source`."""
        self.objects[name] = source.read()

    def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """The object's bytes.

        Raises:
            MissingArtifact: there is none.
        """
        content = self.objects.get(name)
        if content is None:
            raise MissingArtifact(f"no object {name!r}; store it first")
        yield from (content[start : start + chunk_bytes] for start in range(0, len(content), chunk_bytes))


class FaultyBlobs:
    """A `BlobStore` around another that fails when told; `calls` lists what was asked of it, as (what, name).

    faults: by `size_bytes`, `write` or `chunks`, the exceptions that its next calls raise, one each; None lets a
    call pass. A failing `write` has already read half of its source, as a broken connection would.
    """

    def __init__(self, wrapped: BlobStore, **faults: list[Exception | None]) -> None:
        self._wrapped = wrapped
        self._faults = faults
        self.calls: list[tuple[str, str]] = []

    @property
    def root(self) -> str:
        """The wrapped store's root."""
        return self._wrapped.root

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None; or the next fault."""
        self._fail("size_bytes", name)
        return self._wrapped.size_bytes(name)

    def write(self, name: str, source: BinaryIO) -> None:
        """Store all of `source`; or raise the next fault."""
        self._fail("write", name, lambda: source.read(8))
        self._wrapped.write(name, source)

    def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """The object's bytes; or the next fault."""
        self._fail("chunks", name)
        yield from self._wrapped.chunks(name, chunk_bytes=chunk_bytes)

    def _fail(self, what: str, name: str, before: Callable[[], object] | None = None) -> None:
        self.calls.append((what, name))
        pending = self._faults.get(what)
        fault = pending.pop(0) if pending else None
        if fault is not None:
            if before is not None:
                before()
            raise fault


class BlobStoreContract:
    """What every `BlobStore` does. Inherit it, and give it a fixture `blobs` with an empty store."""

    def test_an_object_reads_as_it_was_written(self, blobs: BlobStore) -> None:
        blobs.write("a/b/one", io.BytesIO(b"content"))

        assert b"".join(blobs.chunks("a/b/one")) == b"content"

    def test_an_empty_object_is_an_object(self, blobs: BlobStore) -> None:
        blobs.write("a/empty", io.BytesIO())

        assert blobs.size_bytes("a/empty") == 0
        assert b"".join(blobs.chunks("a/empty")) == b""

    def test_a_missing_object_has_no_size(self, blobs: BlobStore) -> None:
        assert blobs.size_bytes("a/none") is None

    def test_reading_a_missing_object_says_so(self, blobs: BlobStore) -> None:
        with pytest.raises(MissingArtifact, match="none"):
            list(blobs.chunks("a/none"))

    def test_writing_again_replaces_the_object(self, blobs: BlobStore) -> None:
        blobs.write("a/one", io.BytesIO(b"first and long"))
        blobs.write("a/one", io.BytesIO(b"second"))

        assert blobs.size_bytes("a/one") == len(b"second")
        assert b"".join(blobs.chunks("a/one")) == b"second"

    def test_an_object_comes_in_chunks_no_longer_than_asked(self, blobs: BlobStore) -> None:
        content = bytes(range(256)) * 40
        blobs.write("a/long", io.BytesIO(content))

        chunks = list(blobs.chunks("a/long", chunk_bytes=1000))

        assert b"".join(chunks) == content
        assert max(map(len, chunks)) <= 1000

    def test_a_large_object_survives_the_way(self, blobs: BlobStore) -> None:
        content = bytes(range(251)) * 80_000
        blobs.write("a/large", io.BytesIO(content))

        assert blobs.size_bytes("a/large") == len(content)
        assert b"".join(blobs.chunks("a/large")) == content

    @pytest.mark.parametrize("size_bytes", [5_000, 20_000_000])
    def test_a_write_that_fails_leaves_no_object(self, blobs: BlobStore, size_bytes: int) -> None:
        with pytest.raises((Unavailable, OSError)):
            blobs.write("a/half", _breaks_off_after(size_bytes))

        assert blobs.size_bytes("a/half") is None

    def test_a_write_that_fails_leaves_the_old_object(self, blobs: BlobStore) -> None:
        blobs.write("a/one", io.BytesIO(b"old"))

        with pytest.raises((Unavailable, OSError)):
            blobs.write("a/one", _breaks_off_after(5_000))

        assert b"".join(blobs.chunks("a/one")) == b"old"

    def test_readers_never_see_a_half_while_writers_replace(self, blobs: BlobStore) -> None:
        contents = [bytes([number]) * 200_000 for number in range(4)]
        blobs.write("a/busy", io.BytesIO(contents[0]))
        ready = threading.Barrier(8)

        def write(content: bytes) -> bytes:
            ready.wait()
            blobs.write("a/busy", io.BytesIO(content))
            return content

        def read(_: int) -> bytes:
            ready.wait()
            try:
                return b"".join(blobs.chunks("a/busy"))
            except Unavailable:
                # Replaced under its reader, an object may be refused; it may not be mixed.
                return contents[0]

        with ThreadPoolExecutor(8) as pool:
            work = [pool.submit(write, content) for content in contents] + [pool.submit(read, n) for n in range(4)]
            seen = [one.result() for one in work]

        assert set(seen) <= set(contents)

    def test_the_root_is_a_url_without_a_trailing_slash(self, blobs: BlobStore) -> None:
        assert "://" in blobs.root
        assert not blobs.root.endswith("/")


class _BreaksOff(io.RawIOBase, BinaryIO):
    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes

    def read(self, size: int = -1) -> bytes:
        if not self._left or size < 0:
            raise OSError("the source broke off")
        count = min(size, self._left, 4096)
        self._left -= count
        return b"x" * count


def _breaks_off_after(size_bytes: int) -> BinaryIO:
    return _BreaksOff(size_bytes)
