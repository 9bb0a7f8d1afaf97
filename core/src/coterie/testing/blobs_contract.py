"""What every blob store does, as tests to inherit."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import pytest

from coterie.errors import ForbiddenLocation, MissingArtifact, Unavailable
from coterie.ports import Blob, BlobStore

__all__ = ["BlobStoreContract"]

BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/../b",
    "a/..",
    "/a",
    "//a",
    "a//b",
    "a/",
    "a\\..\\b",
    "%2e%2e/a",
    "..%2fa",
    "a/%2e%2e/b",
    "a\0b",
    "a\n",
    "a/.hidden",
    "~/a",
    "a b",
    "a?b",
    "a*",
    "ä",
    "a" * 256,
    "a/" * 500 + "a",
    "file:///etc/passwd",
    "a.partial",
]


class BlobStoreContract:
    """What every `BlobStore` does. Inherit it, and give it a fixture `blobs` with an empty store, on each test."""

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
        assert list(blobs.entries("a")) == []

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

    def test_a_read_that_stops_half_way_disturbs_nothing(self, blobs: BlobStore) -> None:
        blobs.write("a/long", io.BytesIO(b"x" * 100_000))

        reading = blobs.chunks("a/long", chunk_bytes=1000)
        next(reading)
        _close(reading)
        blobs.write("a/long", io.BytesIO(b"short"))

        assert b"".join(blobs.chunks("a/long")) == b"short"

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_name_that_could_lead_out_is_refused(self, blobs: BlobStore, name: str) -> None:
        asked: list[Callable[[], object]] = [
            lambda: blobs.size_bytes(name),
            lambda: blobs.write(name, io.BytesIO(b"x")),
            lambda: list(blobs.chunks(name)),
            lambda: blobs.refresh(name),
            lambda: list(blobs.entries(name)),
            lambda: blobs.delete([Blob(name, 1, 1.0)]),
        ]

        for ask in asked:
            with pytest.raises(ForbiddenLocation, match="is no name of an object"):
                ask()

    # Listing, ages and deletion.

    def test_a_listing_has_all_that_lies_below_a_folder_and_nothing_else(self, blobs: BlobStore) -> None:
        for name in ("a/one", "a/deep/er/two", "ab/three", "four"):
            blobs.write(name, io.BytesIO(name.encode()))

        listed = {blob.name: (blob.size_bytes, blob.upload) for blob in blobs.entries("a")}

        assert listed == {"a/one": (5, None), "a/deep/er/two": (13, None)}

    def test_a_folder_that_is_not_there_is_empty(self, blobs: BlobStore) -> None:
        assert list(blobs.entries("nowhere")) == []

    def test_ages_are_counted_by_the_store_s_own_clock(self, blobs: BlobStore) -> None:
        before_s = blobs.clock_s()
        blobs.write("a/one", io.BytesIO(b"x"))

        # Some tell whole seconds only.
        assert before_s - 1 <= _entry(blobs, "a/one").modified_s <= blobs.clock_s() + 1

    def test_refreshing_begins_the_age_anew_and_leaves_the_content(self, blobs: BlobStore) -> None:
        blobs.write("a/one", io.BytesIO(b"content"))
        before = _entry(blobs, "a/one")

        after = _renewed(blobs, before, b"content")

        assert after.modified_s > before.modified_s
        assert b"".join(blobs.chunks("a/one")) == b"content"

    def test_what_is_not_there_is_not_refreshed(self, blobs: BlobStore) -> None:
        assert not blobs.refresh("a/none")
        assert blobs.size_bytes("a/none") is None

    def test_what_is_deleted_is_gone_and_nothing_else(self, blobs: BlobStore) -> None:
        for number in range(5):
            blobs.write(f"a/{number}", io.BytesIO(b"x"))
        listed = [blob for blob in blobs.entries("a") if blob.name in ("a/1", "a/3")]

        assert set(blobs.delete(listed)) == set(listed)
        assert sorted(blob.name for blob in blobs.entries("a")) == ["a/0", "a/2", "a/4"]

    def test_deleting_what_is_gone_already_is_no_error(self, blobs: BlobStore) -> None:
        blobs.write("a/one", io.BytesIO(b"x"))
        listed = list(blobs.entries("a"))
        blobs.delete(listed)

        assert list(blobs.delete(listed)) == listed
        assert list(blobs.delete([])) == []

    def test_what_was_refreshed_since_it_was_listed_is_not_deleted(self, blobs: BlobStore) -> None:
        blobs.write("a/one", io.BytesIO(b"x"))
        blobs.write("a/two", io.BytesIO(b"x"))
        one, two = _entry(blobs, "a/one"), _entry(blobs, "a/two")
        _renewed(blobs, one, b"x")

        assert list(blobs.delete([one, two])) == [two]
        assert blobs.size_bytes("a/one") == 1

    def test_what_was_written_since_it_was_listed_is_not_deleted(self, blobs: BlobStore) -> None:
        blobs.write("a/one", io.BytesIO(b"old"))
        before = _entry(blobs, "a/one")
        _until(lambda: blobs.write("a/one", io.BytesIO(b"newer")), lambda: _entry(blobs, "a/one") != before)

        assert list(blobs.delete([before])) == []
        assert b"".join(blobs.chunks("a/one")) == b"newer"

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


def _entry(blobs: BlobStore, name: str) -> Blob:
    (found,) = (blob for blob in blobs.entries(name.rpartition("/")[0]) if blob.name == name)
    return found


def _renewed(blobs: BlobStore, before: Blob, content: bytes) -> Blob:
    """The object's entry once its age has begun anew: by a refresh, or where there is none by another write."""

    def renew() -> None:
        if not blobs.refresh(before.name):
            blobs.write(before.name, io.BytesIO(content))

    _until(renew, lambda: _entry(blobs, before.name).modified_s > before.modified_s)
    return _entry(blobs, before.name)


def _until(act: Callable[[], object], reached: Callable[[], bool]) -> None:
    # Some stores tell whole seconds only.
    for _ in range(100):
        act()
        if reached():
            return
        time.sleep(0.1)
    pytest.fail("the object's age did not begin anew")


def _close(chunks: Iterator[bytes]) -> None:
    assert isinstance(chunks, Generator)
    chunks.close()
