"""Garbage collection: mark what is reachable, then sweep what is old and not marked.

Marking comes first and ends before anything is deleted, so that a store that fails on the way loses nothing. Sweeping
looks at each object once, page by page, and deletes what it was just shown, if that is unchanged.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from coterie.artifacts.content import Contents
from coterie.artifacts.marks import Marks
from coterie.artifacts.reader import InThread
from coterie.artifacts.references import Found, found_in, referred
from coterie.errors import CorruptArtifact, MissingArtifact, Misuse, PolicyError
from coterie.ports import Blob
from coterie.ref import JSON_MEDIA_TYPE, Ref

__all__ = ["Amount", "Collected", "Root", "collect"]

Root = str | Ref
# So many objects, references or roots are in memory at a time.
_BATCH = 1000
# So many threads read documents, so many each at a time.
_READERS = 8
_DOCUMENTS = 16
_CHUNK_BYTES = 2**16
_NAMED = 100
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of objects, and their bytes as they are stored."""

    objects: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection saw and did; in a dry run, what it would have done.

    seen: all objects. reachable, young: those kept for that reason; refreshed or replaced on the way counts as young.
    deleted: objects. unfinished: writes that had not ended for the minimum age, swept too.
    foreign: objects that are not named by a digest; nobody here wrote them, and they stay.
    unread: reachable documents that are not there or not what they should be, so that nobody can tell what they refer
    to; `unread_named` has the digests of the first hundred.
    """

    dry_run: bool
    seen: Amount = Amount()
    reachable: Amount = Amount()
    young: Amount = Amount()
    deleted: Amount = Amount()
    unfinished: Amount = Amount()
    foreign: Amount = Amount()
    unread: int = 0
    unread_named: tuple[str, ...] = ()


class _Tally:
    """What a collection has counted so far."""

    def __init__(self) -> None:
        self.unread: list[str] = []
        self.unread_count = 0
        self._objects: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, kind: str, blob: Blob) -> None:
        """Count an object under one of the amounts of `Collected`."""
        self._objects[kind] += 1
        self._bytes[kind] += blob.size_bytes

    def add_unread(self, digests: Sequence[str]) -> None:
        """Count documents, and remember some of them."""
        self.unread_count += len(digests)
        self.unread = [*self.unread, *digests][:_NAMED]

    def report(self, *, dry_run: bool) -> Collected:
        """All of it."""
        amounts = {kind: Amount(count, self._bytes[kind]) for kind, count in self._objects.items()}
        return Collected(dry_run, **amounts, unread=self.unread_count, unread_named=tuple(self.unread))


async def collect(
    contents: Contents,
    in_thread: InThread,
    reachable: AsyncIterable[Root] | Iterable[Root],
    *,
    min_age_s: float,
    dry_run: bool,
) -> Collected:
    """See `ArtifactStore.collect`."""
    if not 0 <= min_age_s < math.inf:
        raise PolicyError(f"the minimum age of garbage is {min_age_s!r} s; give a number >= 0")
    tally = _Tally()
    oldest_kept_s = await in_thread(contents.blobs.clock_s) - min_age_s
    marks = Marks()
    try:
        async for batch in _batches(reachable):
            await in_thread(partial(marks.add, [found for root in batch for found in _roots(root)]))
        await _walk(contents, in_thread, marks, tally)
        sweep = _Sweep(contents, marks, tally, oldest_kept_s, dry_run=dry_run)
        while await in_thread(sweep.step):
            pass
    finally:
        marks.close()
    return tally.report(dry_run=dry_run)


async def _batches(roots: AsyncIterable[Root] | Iterable[Root]) -> AsyncIterator[list[Root]]:
    batch: list[Root] = []
    async for root in _each(roots):
        batch.append(root)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _each(roots: AsyncIterable[Root] | Iterable[Root]) -> AsyncIterator[Root]:
    if isinstance(roots, AsyncIterable):
        async for root in roots:
            yield root
    else:
        for root in roots:
            yield root


def _roots(root: Root) -> Iterator[Found]:
    if isinstance(root, Ref):
        yield from referred(root.serialize())
    elif isinstance(root, str) and _DIGEST.match(root):
        # It may be anything: whether it is a document shows when it is read.
        yield Found(root, follow=True)
    else:
        raise Misuse(f"{root!r:.200} says nothing that is reachable; give references, or SHA-256 digests in lower case")


async def _walk(contents: Contents, in_thread: InThread, marks: Marks, tally: _Tally) -> None:
    """Follow what documents refer to, depth first, each document once."""
    while pending := await in_thread(partial(marks.take, _READERS * _DOCUMENTS)):
        shares = [pending[start::_READERS] for start in range(min(_READERS, len(pending)))]
        readings = [in_thread(partial(_follow_all, contents, marks, share)) for share in shares]
        for read in await asyncio.gather(*readings, return_exceptions=True):
            if isinstance(read, BaseException):
                raise read
            tally.add_unread(read)


def _follow_all(contents: Contents, marks: Marks, documents: Sequence[Found]) -> list[str]:
    """Mark what they refer to, and return those that cannot be read."""
    return [found.sha256 for found in documents if not _follow(contents, marks, found)]


def _follow(contents: Contents, marks: Marks, found: Found) -> bool:
    if found.size_bytes is None:
        ref = contents.known(found.sha256, JSON_MEDIA_TYPE)
    else:
        ref = contents.layout.ref(found.sha256, found.size_bytes, JSON_MEDIA_TYPE)
    if ref is None:
        return False
    batch: list[Found] = []
    try:
        for reference in found_in(contents.unheld_chunks(ref, chunk_bytes=_CHUNK_BYTES)):
            batch.append(reference)
            if len(batch) == _BATCH:
                marks.add(batch)
                batch = []
    except (MissingArtifact, CorruptArtifact):
        return False
    finally:
        # What a spoilt document refers to is kept, too: whoever mends it will want it.
        marks.add(batch)
    return True


class _Sweep:
    """Looks at all objects, a batch at each step. What was renewed after `oldest_kept_s` is not deleted."""

    def __init__(self, contents: Contents, marks: Marks, tally: _Tally, oldest_kept_s: float, *, dry_run: bool) -> None:
        self._layout = contents.layout
        self._blobs = contents.blobs
        self._marks = marks
        self._tally = tally
        self._oldest_kept_s = oldest_kept_s
        self._dry_run = dry_run
        self._entries = contents.blobs.entries(contents.layout.folder)

    def step(self) -> bool:
        """Deal with the next batch; False if there is none."""
        batch = list(islice(self._entries, _BATCH))
        garbage = self._garbage(batch)
        gone = set(garbage if self._dry_run or not garbage else self._blobs.delete(garbage))
        for blob in garbage:
            if blob.upload is None:
                self._tally.add("deleted" if blob in gone else "young", blob)
            elif blob in gone:
                self._tally.add("unfinished", blob)
        return bool(batch)

    def _garbage(self, batch: Sequence[Blob]) -> list[Blob]:
        digests = {blob: self._layout.digest_of(blob.name) for blob in batch}
        marked = self._marks.marked([digest for digest in digests.values() if digest is not None])
        garbage = []
        for blob, digest in digests.items():
            reason = self._reason_to_keep(blob, digest, marked)
            if reason is None:
                garbage.append(blob)
            elif blob.upload is None:
                self._tally.add(reason, blob)
            if blob.upload is None:
                self._tally.add("seen", blob)
        return garbage

    def _reason_to_keep(self, blob: Blob, digest: str | None, marked: set[str]) -> str | None:
        if digest is None:
            return "foreign"
        # An unfinished write to what is reachable is as useless as any.
        if blob.upload is None and digest in marked:
            return "reachable"
        return "young" if blob.modified_s > self._oldest_kept_s else None
