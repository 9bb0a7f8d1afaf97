"""What `test_scale` runs in processes of their own, to measure them or to kill them.

Each command prints one line of JSON; `stall` prints it in the middle of an upload, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from coterie import ArtifactStore, Ref
from coterie.ports import Blob
from coterie.testing import MemoryBlobs

MIB = 2**20


def memory_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024


class Growth:
    """How much more memory was in use at most, since it was made."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
        self._before = memory_bytes("VmRSS")

    def so_far(self) -> int:
        return memory_bytes("VmHWM") - self._before


async def pieces(mib: int) -> AsyncIterator[bytes]:
    """Content of which no two pieces are equal, and which shrinks to a half."""
    block = random.Random(1).randbytes(MIB // 2) + bytes(MIB // 2)
    for number in range(mib):
        yield number.to_bytes(8, "big") + block[8:]


async def stream(url: str, mib: str, compress: str = "") -> dict[str, int]:
    """Store that much of unknown length, read it back, and copy it to nowhere."""
    store = ArtifactStore(url, compress="zstd" if compress else None, timeout_s=3600)
    await store.read_bytes(await store.put_bytes(b"everything is imported by now " * 1000))
    growth = Growth()

    ref = await store.put_stream(pieces(int(mib)))
    put_growth = growth.so_far()
    size_bytes = 0
    async for chunk in store.stream(ref):
        size_bytes += len(chunk)

    return {"size_bytes": size_bytes, "put_growth": put_growth, "growth": growth.so_far()}


async def many(url: str, count: str) -> dict[str, int]:
    """Store that many small things twice, of which a tenth differ."""
    store = ArtifactStore(url)
    contents = [b"%d " % (number // 10) + b"x" * 500 for number in range(int(count))]
    growth = Growth()
    refs: set[Ref] = set()
    for _ in range(2):
        for start in range(0, len(contents), 256):
            refs.update(await asyncio.gather(*map(store.put_bytes, contents[start : start + 256])))
    return {"different": len(refs), "growth": growth.so_far()}


class Synthetic(MemoryBlobs):
    """So many objects that nobody stores, half of them garbage."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.deleted = 0

    def entries(self, folder: str) -> Iterator[Blob]:
        for number in range(self.count):
            digest = digest_of(number)
            yield Blob(f"{folder}/{digest[:2]}/{digest}", 1000, 1.0)

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        self.deleted += len(blobs)
        return blobs


def digest_of(number: int) -> str:
    # Spread as digests are; the same for a number each time.
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:048x}"


async def collect(count: str) -> dict[str, int]:
    """Collect the garbage of a store with that many objects."""
    blobs = Synthetic(int(count))
    store = ArtifactStore(blobs)
    warm = ArtifactStore(Synthetic(10))
    await warm.collect([warm.reference(digest_of(1), 1)], min_age_s=0)
    growth = Growth()

    async def reachable() -> AsyncIterator[Ref]:
        for number in range(0, int(count), 2):
            yield store.reference(digest_of(number), 1000, "application/octet-stream")

    report = await store.collect(reachable(), min_age_s=0)

    return {
        "seen": report.seen.objects,
        "reachable": report.reachable.objects,
        "deleted": blobs.deleted,
        "growth": growth.so_far(),
    }


async def follow(url: str, count: str) -> dict[str, int]:
    """Collect where one document refers to that many objects, of which none is there."""
    store = ArtifactStore(url)

    def document() -> Iterator[bytes]:
        yield b"["
        for number in range(int(count)):
            form = store.reference(digest_of(number), 1000, "application/octet-stream").portable()
            yield (b"," if number else b"") + json.dumps(form).encode()
        yield b"]"

    ref = await store.put_stream(document(), "application/json")
    growth = Growth()
    report = await store.collect([ref], min_age_s=0)
    return {"size_bytes": ref.size_bytes, "reachable": report.reachable.objects, "growth": growth.so_far()}


class Stalling(io.BytesIO):
    """Can be read once; the second time, which is when it is sent, it never comes to its end."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._readings = 0

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() == 0:
            self._readings += 1
        if self._readings > 1 and self.tell() > len(self.getbuffer()) * 0.8:
            print(json.dumps({"sent": self.tell()}), flush=True)  # noqa: T201 # what the test waits for
            time.sleep(600)
        return super().read(size)


async def stall(url: str, mib: str) -> dict[str, int]:
    """Begin to store that much, and stall when most of it is sent."""
    content = random.Random(2).randbytes(int(mib) * MIB)
    await ArtifactStore(url).put_stream(Stalling(content))
    return {}


COMMANDS = {"stream": stream, "many": many, "collect": collect, "follow": follow, "stall": stall}

if __name__ == "__main__":
    print(json.dumps(asyncio.run(COMMANDS[sys.argv[1]](*sys.argv[2:]))))  # type: ignore[operator]  # noqa: T201
