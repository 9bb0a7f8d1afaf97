"""Blob stores for tests: one in memory, one that fails on demand; and, from its own file, the contract of all."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from coterie.clock import Clock, SystemClock
from coterie.errors import MissingArtifact
from coterie.ports import Blob, BlobStore
from coterie.stores.blobs import check_blob_name
from coterie.testing.blobs_contract import BlobStoreContract

__all__ = ["BlobStoreContract", "FaultyBlobs", "MemoryBlobs"]


class MemoryBlobs:
    """A `BlobStore` that is a dictionary: `objects` holds what is stored, `modified_s` when, both by name.

    clock: of the ages, by default this process's; a `ManualClock` for those who test what becomes old.
    """

    def __init__(self, root: str = "test://blobs", *, clock: Clock | None = None) -> None:
        self.root = root
        self.objects: dict[str, bytes] = {}
        self.modified_s: dict[str, float] = {}
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None."""
        content = self.objects.get(check_blob_name(name))
        return None if content is None else len(content)

    def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:  # noqa: ARG002
        """Store all of `source`."""
        check_blob_name(name)
        content = source.read()
        with self._lock:
            self.objects[name] = content
            self._stamp(name)

    def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """The object's bytes.

        Raises:
            MissingArtifact: there is none.
        """
        content = self.objects.get(check_blob_name(name))
        if content is None:
            raise MissingArtifact(f"no object {name!r}; store it first")
        yield from (content[start : start + chunk_bytes] for start in range(0, len(content), chunk_bytes))

    def refresh(self, name: str) -> bool:
        """Begin the object's age anew; False if it is not there."""
        with self._lock:
            if check_blob_name(name) not in self.objects:
                return False
            self._stamp(name)
            return True

    def entries(self, folder: str) -> Iterator[Blob]:
        """All objects below a folder; nothing is ever unfinished."""
        within = check_blob_name(folder) + "/"
        names = [name for name in list(self.objects) if name.startswith(within)]
        yield from (Blob(name, len(self.objects[name]), self.modified_s.get(name, 0.0)) for name in names)

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        """Delete those that are as they were listed."""
        return [blob for blob in blobs if self._delete(blob)]

    def clock_s(self) -> float:
        """The clock that it was given."""
        return self._clock.now()

    def _stamp(self, name: str) -> None:
        # Never the same twice, also where the clock stands still.
        self.modified_s[name] = max(self._clock.now(), math.nextafter(self.modified_s.get(name, 0.0), math.inf))

    def _delete(self, blob: Blob) -> bool:
        with self._lock:
            if blob.name in self.objects and self.modified_s.get(blob.name, 0.0) != blob.modified_s:
                return False
            self.objects.pop(check_blob_name(blob.name), None)
            self.modified_s.pop(blob.name, None)
            return True


class FaultyBlobs:
    """A `BlobStore` around another that fails when told; `calls` lists what was asked of it, as (what, name).

    faults: by the name of the method, the exceptions that its next calls raise, one each; None lets a call pass. A
    failing `write` has already read half of its source, as a broken connection would.
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

    def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:
        """Store all of `source`; or raise the next fault."""
        self._fail("write", name, lambda: source.read(8))
        self._wrapped.write(name, source, size_bytes=size_bytes)

    def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """The object's bytes; or the next fault."""
        self._fail("chunks", name)
        yield from self._wrapped.chunks(name, chunk_bytes=chunk_bytes)

    def refresh(self, name: str) -> bool:
        """Begin the object's age anew; or raise the next fault."""
        self._fail("refresh", name)
        return self._wrapped.refresh(name)

    def entries(self, folder: str) -> Iterator[Blob]:
        """All objects below a folder; or the next fault."""
        self._fail("entries", folder)
        yield from self._wrapped.entries(folder)

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        """Delete those that are as they were listed; or raise the next fault. Called once for all, named by each."""
        for blob in blobs:
            self.calls.append(("delete", blob.name))
        self._raise("delete")
        return self._wrapped.delete(blobs)

    def clock_s(self) -> float:
        """The wrapped store's clock; or the next fault."""
        self._fail("clock_s", "")
        return self._wrapped.clock_s()

    def _fail(self, what: str, name: str, before: Callable[[], object] | None = None) -> None:
        self.calls.append((what, name))
        self._raise(what, before)

    def _raise(self, what: str, before: Callable[[], object] | None = None) -> None:
        pending = self._faults.get(what)
        fault = pending.pop(0) if pending else None
        if fault is not None:
            if before is not None:
                before()
            raise fault
