"""Content is read piece by piece: verified before its end, no more than it should be, and nothing is left open."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from coterie import ArtifactStore, Ref, sync
from coterie.errors import CorruptArtifact, ForbiddenLocation, MissingArtifact, Misuse, PolicyError, Unavailable
from coterie.testing import MemoryBlobs

CONTENT = bytes(range(256)) * 40_000
PIECES = [CONTENT[start : start + 700_001] for start in range(0, len(CONTENT), 700_001)]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/artifacts")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def until(reached: Any) -> None:
    for _ in range(500):
        if reached():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it never came to that")


async def test_pieces_are_no_longer_than_asked(store: ArtifactStore):
    ref = await store.put_bytes(CONTENT)

    pieces = [piece async for piece in store.stream(ref, chunk_bytes=1_000_000)]

    assert b"".join(pieces) == CONTENT
    assert max(map(len, pieces)) <= 1_000_000


async def test_a_reader_gives_what_is_asked_for(store: ArtifactStore):
    ref = await store.put_bytes(CONTENT)

    async with store.open(ref, chunk_bytes=500_000) as reader:
        first, second, rest, end = [await reader.read(size) for size in (10, 600_000, -1, 10)]

    assert (first, second, rest, end) == (CONTENT[:10], CONTENT[10:600_010], CONTENT[600_010:], b"")


async def test_a_closed_reader_says_so(store: ArtifactStore):
    reader = store.open(await store.put_bytes(CONTENT))
    await reader.aclose()
    await reader.aclose()

    with pytest.raises(Misuse, match="this reader is closed; open the artifact again"):
        await reader.read(1)


async def test_what_travels_in_the_reference_is_streamed_too(store: ArtifactStore):
    ref = await store.put("a few words")

    assert ref.is_inline
    assert [piece async for piece in store.stream(ref)] == [b'"a few words"']


def test_pieces_of_nothing_are_refused(store: ArtifactStore):
    with pytest.raises(PolicyError, match="in chunks of 0 bytes; give at least 1"):
        store.open(Ref("file:///x", "0" * 64, 1), chunk_bytes=0)


SPOIL = {
    "a flipped first byte": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "a flipped last byte": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "a lost end": lambda content: content[:-1],
    "a longer end": lambda content: content + b"x",
    "much more": lambda content: content * 3,
    "nothing": lambda content: b"",
}


@pytest.mark.parametrize("chunk_bytes", [999_983, 2**20, len(CONTENT)])
@pytest.mark.parametrize("how", SPOIL)
async def test_spoilt_content_never_comes_to_its_end(store: ArtifactStore, tmp_path: Path, how: str, chunk_bytes: int):
    ref = await store.put_bytes(CONTENT)
    (stored,) = files(tmp_path)
    stored.write_bytes(SPOIL[how](CONTENT))
    got = 0

    async def read() -> None:
        nonlocal got
        async for piece in store.stream(ref, chunk_bytes=chunk_bytes):
            got += len(piece)

    with pytest.raises(CorruptArtifact):
        await read()

    assert got < len(CONTENT)


async def test_no_more_is_read_than_the_reference_says():
    asked: list[int] = []

    class Endless(MemoryBlobs):
        def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
            while True:
                asked.append(chunk_bytes)
                yield b"x" * chunk_bytes

    store = ArtifactStore(Endless())

    with pytest.raises(CorruptArtifact):
        await store.read_bytes(store.reference("0" * 64, 10_000_000))
    assert sum(asked) < 12_000_000


async def test_a_stream_of_what_is_missing_or_elsewhere_says_so(store: ArtifactStore, tmp_path: Path):
    missing = store.reference("0" * 64, 10)
    elsewhere = ArtifactStore(f"file://{tmp_path}/other").reference("0" * 64, 10)

    with pytest.raises(MissingArtifact, match="run the task that wrote it again"):
        [piece async for piece in store.stream(missing)]
    with pytest.raises(ForbiddenLocation):
        [piece async for piece in store.stream(elsewhere)]


def descriptors() -> set[str]:
    found = set()
    for number in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(f"{number.name} {number.readlink()}")
    return found


async def test_a_reading_that_stops_half_way_leaves_nothing_open(store: ArtifactStore, tmp_path: Path):
    ref = await store.put_bytes(CONTENT)
    before = descriptors()

    async with store.open(ref, chunk_bytes=1000) as reader:
        await reader.read(10)
        assert descriptors() != before
    stream = store.stream(ref, chunk_bytes=1000)
    await anext(stream)
    await stream.aclose()
    dropped = store.stream(ref, chunk_bytes=1000)
    await anext(dropped)
    del dropped
    gc.collect()

    await until(lambda: descriptors() == before)


async def test_a_reading_that_is_cancelled_leaves_nothing_open():
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow(MemoryBlobs):
        def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
            try:
                yield b"x"
                begun.set()
                go_on.wait(20)
                yield b"x"
            finally:
                closed.set()

    store = ArtifactStore(Slow())

    async def read() -> None:
        async for _ in store.stream(store.reference("0" * 64, 3)):
            pass

    reading = asyncio.create_task(read())
    await asyncio.to_thread(begun.wait)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not closed.is_set()
    go_on.set()

    await until(closed.is_set)


async def test_a_store_that_hangs_in_the_middle_is_unavailable():
    release = threading.Event()

    class Hanging(MemoryBlobs):
        def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
            yield b"x"
            yield b"x"
            release.wait(20)

    store = ArtifactStore(Hanging(), timeout_s=0.05)

    with pytest.raises(Unavailable, match="did not answer within"):
        [piece async for piece in store.stream(store.reference("0" * 64, 5))]
    release.set()


# Blocking.


def test_blocking_code_streams_too(tmp_path: Path):
    store = sync.ArtifactStore(f"file://{tmp_path}/artifacts")

    ref = store.put_stream(iter(PIECES))

    assert b"".join(store.stream(ref, chunk_bytes=100_000)) == CONTENT
    with store.open(ref) as file:
        assert file.read(5) == CONTENT[:5]
        assert file.read() == CONTENT[5:]


def test_content_goes_from_one_stream_into_another_with_a_single_thread(tmp_path: Path):
    store = sync.ArtifactStore(ArtifactStore(f"file://{tmp_path}/artifacts", threads=1))
    ref = store.put_bytes(CONTENT)

    assert store.put_stream(store.stream(ref)) == ref


def test_a_blocking_file_left_early_leaves_nothing_open(tmp_path: Path):
    store = sync.ArtifactStore(f"file://{tmp_path}/artifacts")
    ref = store.put_bytes(CONTENT)
    before = descriptors()

    with store.open(ref) as file:
        file.read(5)
    stream = store.stream(ref)
    next(stream)
    stream.close()

    assert descriptors() == before


def test_blocking_code_finds_spoilt_content_out(tmp_path: Path):
    store = sync.ArtifactStore(f"file://{tmp_path}/artifacts")
    ref = store.put_bytes(CONTENT)
    (stored,) = files(tmp_path)
    stored.write_bytes(CONTENT[:-1])

    with pytest.raises(CorruptArtifact), store.open(ref) as file:
        file.read()
