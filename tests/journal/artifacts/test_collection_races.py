"""A collection that fails loses nothing; one that meets somebody who stores loses nothing of what was stored."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from coterie import ArtifactStore, sync
from coterie.errors import Unavailable
from coterie.ports import Blob
from coterie.stores.blobs import FsspecBlobs
from coterie.testing import FaultyBlobs, ManualClock, MemoryBlobs

DAY_S = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def blobs(clock: ManualClock) -> MemoryBlobs:
    return MemoryBlobs(clock=clock)


@pytest.fixture
def store(blobs: MemoryBlobs) -> ArtifactStore:
    return ArtifactStore(blobs)


def text(number: int) -> str:
    return f"content number {number} " * 40


@pytest.mark.parametrize("what", ["clock_s", "entries", "chunks", "delete"])
async def test_a_store_that_fails_on_the_way_loses_nothing(clock: ManualClock, what: str):
    inner = MemoryBlobs(clock=clock)
    store = ArtifactStore(inner)
    document = await store.put({"padding": text(1)})
    await store.put_text(text(2))
    failing = ArtifactStore(FaultyBlobs(inner, **{what: [Unavailable("down")]}))

    with pytest.raises(Unavailable):
        await failing.collect([document], min_age_s=0)

    assert len(inner.objects) == 2


async def test_a_source_of_roots_that_fails_loses_nothing(blobs: MemoryBlobs, store: ArtifactStore):
    await store.put_text(text(1))

    async def failing() -> AsyncIterator[str]:
        yield "0" * 64
        raise ConnectionError("the journal is down")

    with pytest.raises(ConnectionError):
        await store.collect(failing(), min_age_s=0)

    assert len(blobs.objects) == 1


class Interrupting(MemoryBlobs):
    """Does something in the very moment before a deletion, and before a refresh."""

    before_delete: Callable[[], object] | None = None
    before_refresh: Callable[[], object] | None = None

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        act, self.before_delete = self.before_delete, None
        if act is not None:
            act()
        return super().delete(blobs)

    def refresh(self, name: str) -> bool:
        act, self.before_refresh = self.before_refresh, None
        if act is not None:
            act()
        return super().refresh(name)


@pytest.mark.parametrize("compress", [None, "zstd"])
async def test_content_stored_again_just_before_its_deletion_stays(clock: ManualClock, compress: Any):
    blobs = Interrupting(clock=clock)
    store = ArtifactStore(blobs, compress=compress)
    content = (text(1) * 20).encode()
    ref = await store.put_bytes(content)
    clock.advance(2 * DAY_S)
    blobs.before_delete = lambda: sync.run(store.put_bytes(content))

    report = await store.collect([], min_age_s=DAY_S)

    assert (report.young.objects, report.deleted.objects) == (1, 0)
    assert await store.read_bytes(ref) == content


@pytest.mark.parametrize("compress", [None, "zstd"])
async def test_content_deleted_just_before_it_is_refreshed_is_written_again(clock: ManualClock, compress: Any):
    blobs = Interrupting(clock=clock)
    store = ArtifactStore(blobs, compress=compress)
    content = (text(1) * 20).encode()
    await store.put_bytes(content)
    clock.advance(2 * DAY_S)
    deleted = []
    blobs.before_refresh = lambda: deleted.append(sync.run(store.collect([], min_age_s=DAY_S)).deleted.objects)

    ref = await store.put_bytes(content)

    assert deleted == [1]
    assert await store.read_bytes(ref) == content


def test_collecting_and_storing_at_once_in_a_folder_never_loses_what_was_stored(tmp_path: Path):
    store = ArtifactStore(f"file://{tmp_path}/artifacts")
    content = b"x" * 1000
    path = Path(asyncio.run(store.put_bytes(content)).uri.removeprefix("file://"))

    async def race(delay_s: float) -> bool:
        async def later() -> None:
            await asyncio.sleep(delay_s)
            await store.put_bytes(content)

        report, _ = await asyncio.gather(store.collect([], min_age_s=DAY_S), later())
        return report.deleted.objects == 1

    outcomes: list[bool] = []
    # The later content is stored, the more often the collector comes first; in between they meet.
    while len(outcomes) < 40 or (len(set(outcomes)) < 2 and len(outcomes) < 2000):
        os.utime(path, (1.0, 1.0))
        outcomes.append(asyncio.run(race(len(outcomes) % 40 / 2000)))
        assert path.read_bytes() == content

    assert set(outcomes) == {True, False}


def test_deleting_and_refreshing_one_file_exclude_each_other(tmp_path: Path):
    """Closer than a whole collection: only the two steps that race, with nothing around them."""
    blobs = FsspecBlobs(f"file://{tmp_path}/blobs")
    path = tmp_path / "blobs" / "a" / "one"
    path.parent.mkdir(parents=True)
    kept = 0
    for _ in range(100):
        path.write_bytes(b"x")
        os.utime(path, (1.0, 1.0))
        (listed,) = blobs.entries("a")
        ready = threading.Barrier(2)
        answers: dict[str, Any] = {}

        def refresh(ready: threading.Barrier = ready, answers: dict[str, Any] = answers) -> None:
            ready.wait()
            answers["refreshed"] = blobs.refresh("a/one")

        def delete(listed: Blob = listed, ready: threading.Barrier = ready, answers: dict[str, Any] = answers) -> None:
            ready.wait()
            answers["deleted"] = list(blobs.delete([listed])) == [listed]

        racers = [threading.Thread(target=refresh), threading.Thread(target=delete)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        # Exactly one of the two came first, and the other knows.
        assert answers["refreshed"] is not answers["deleted"]
        assert path.exists() is answers["refreshed"]
        kept += answers["refreshed"]
    assert kept > 0
