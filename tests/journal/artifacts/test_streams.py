"""Content of any length comes and goes piece by piece: verified, bounded, and nothing is left open."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coterie import ArtifactStore, Ref
from coterie.artifacts.measured import IN_MEMORY_BYTES
from coterie.errors import Misuse, PolicyError
from coterie.testing import FaultyBlobs, MemoryBlobs

CONTENT = bytes(range(256)) * 40_000
PIECES = [CONTENT[start : start + 700_001] for start in range(0, len(CONTENT), 700_001)]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/artifacts")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def coming(pieces: list[Any]) -> AsyncIterator[Any]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


class NoSeek(io.RawIOBase):
    """A pipe: it can be read once."""

    def __init__(self, content: bytes) -> None:
        self._left = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._left.read(size)


SOURCES: dict[str, Callable[[Path], Any]] = {
    "an async iterator": lambda _: coming(PIECES),
    "many small pieces": lambda _: coming([CONTENT[start : start + 1000] for start in range(0, len(CONTENT), 1000)]),
    "a list": lambda _: PIECES,
    "an iterator": lambda _: iter(PIECES),
    "other kinds of bytes": lambda _: [bytearray(PIECES[0]), memoryview(b"".join(PIECES[1:]))],
    "bytes": lambda _: CONTENT,
    "a file": lambda path: path.open("rb"),
    "a file without a buffer": lambda path: path.open("rb", buffering=0),
    "a file in memory": lambda _: io.BytesIO(CONTENT),
    "a pipe": lambda _: NoSeek(CONTENT),
}


@pytest.mark.parametrize("kind", SOURCES)
async def test_content_of_unknown_length_is_stored(store: ArtifactStore, tmp_path: Path, kind: str):
    (tmp_path / "source").write_bytes(CONTENT)
    source = SOURCES[kind](tmp_path / "source")

    ref = await store.put_stream(source, "application/x-test")

    assert ref == store.reference(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "application/x-test")
    assert await store.read_bytes(ref) == CONTENT
    if isinstance(source, io.IOBase):
        assert not source.closed
        source.close()


@pytest.mark.parametrize("content", [b"", b"x", b"x" * IN_MEMORY_BYTES, b"x" * (IN_MEMORY_BYTES + 1)])
async def test_the_smallest_and_the_first_that_does_not_fit_in_memory(store: ArtifactStore, content: bytes):
    ref = await store.put_stream(coming([content]))

    assert b"".join([chunk async for chunk in store.stream(ref)]) == content


async def test_a_file_is_stored_from_where_it_stands(store: ArtifactStore):
    file = io.BytesIO(b"before|behind")
    file.seek(7)

    assert await store.read_bytes(await store.put_stream(file)) == b"behind"


@pytest.mark.parametrize("wrong", ["text", 5, None, io.StringIO("text")])
async def test_what_is_no_bytes_is_refused_and_nothing_is_stored(store: ArtifactStore, tmp_path: Path, wrong: Any):
    source = wrong if isinstance(wrong, io.StringIO) else [b"bytes", wrong]

    with pytest.raises(Misuse, match="not as bytes; open files in binary mode, encode text"):
        await store.put_stream(source)

    assert files(tmp_path) == []


async def test_a_source_that_fails_leaves_nothing_and_its_error_comes_out(store: ArtifactStore, tmp_path: Path):
    async def breaks() -> AsyncIterator[bytes]:
        yield CONTENT
        raise ConnectionError("the line went dead")

    with pytest.raises(ConnectionError, match="the line went dead"):
        await store.put_stream(breaks())

    assert files(tmp_path) == []


async def test_a_long_stream_is_written_once_when_all_of_it_is_there():
    blobs = FaultyBlobs(MemoryBlobs())
    seen: list[int] = []

    async def watched() -> AsyncIterator[bytes]:
        for piece in PIECES:
            seen.append(len(blobs.calls))
            yield piece

    await ArtifactStore(blobs).put_stream(watched())

    assert set(seen) == {0}
    assert [what for what, _ in blobs.calls] == ["size_bytes", "write"]


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_a_slow_source_does_not_count_for_the_store_s_time(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, kind: str
):
    running: list[float | None] = []
    timeout = asyncio.timeout

    @asynccontextmanager
    async def watched(delay: float | None) -> AsyncIterator[asyncio.Timeout]:
        running.append(delay)
        async with timeout(delay) as scope:
            yield scope
        running.pop()

    def pieces() -> Iterator[bytes]:
        for piece in PIECES:
            assert running == []
            yield piece

    async def async_pieces() -> AsyncIterator[bytes]:
        for piece in pieces():
            yield piece

    monkeypatch.setattr(asyncio, "timeout", watched)

    ref = await store.put_stream(async_pieces() if kind == "async" else pieces())

    assert ref.size_bytes == len(CONTENT)


async def test_cancelled_a_blocking_source_is_read_no_further(store: ArtifactStore):
    read = threading.Semaphore(0)
    may_go_on, ended = threading.Event(), threading.Event()
    given: list[int] = []

    def slow() -> Iterator[bytes]:
        try:
            for number in range(1000):
                given.append(number)
                yield b"x"
                read.release()
                may_go_on.wait(20)
        finally:
            ended.set()

    writing = asyncio.create_task(store.put_stream(slow()))
    await asyncio.to_thread(read.acquire)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    may_go_on.set()
    await until(ended.is_set)

    assert len(given) <= 3


async def until(reached: Any) -> None:
    for _ in range(500):
        if reached():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it never came to that")


# Threads.


async def test_no_more_threads_work_at_a_time_than_were_granted():
    busy, most, lock = 0, 0, threading.Lock()

    class Counting(MemoryBlobs):
        def size_bytes(self, name: str) -> int | None:
            nonlocal busy, most
            with lock:
                busy += 1
                most = max(most, busy)
            time.sleep(0.002)
            with lock:
                busy -= 1
            return super().size_bytes(name)

    store = ArtifactStore(Counting(), threads=3)

    await asyncio.gather(*(store.put_bytes(b"%d" % number) for number in range(60)))

    assert most == 3


@pytest.mark.parametrize("threads", [0, -1])
def test_a_store_without_threads_is_refused(threads: int):
    with pytest.raises(PolicyError, match="give at least 1"):
        ArtifactStore(MemoryBlobs(), threads=threads)


def test_one_store_serves_several_event_loops():
    store = ArtifactStore(MemoryBlobs(), threads=1)

    async def many() -> list[Ref]:
        return await asyncio.gather(*(store.put_bytes(b"%d" % number) for number in range(10)))

    assert asyncio.run(many()) == asyncio.run(many())


async def test_a_small_value_takes_one_thread_and_an_inline_one_none(monkeypatch: pytest.MonkeyPatch):
    started: list[threading.Thread] = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (started.append(self), start(self))[1])
    store = ArtifactStore(MemoryBlobs())

    await store.put("small")
    assert len(started) == 0
    ref = await store.put("x" * 1000)
    assert len(started) == 1
    await store.load(ref)
    assert len(started) == 2
    await store.put_stream(coming([b"x" * 1000]))
    assert len(started) == 3
