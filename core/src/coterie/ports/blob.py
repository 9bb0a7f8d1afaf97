"""The port of blob stores: bytes by name, such as artifacts lie in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

__all__ = ["Blob", "BlobStore"]


@dataclass(frozen=True, slots=True)
class Blob:
    """One entry of a listing: an object, or a write that has not ended and perhaps never will.

    modified_s: when it was last written or refreshed, in seconds since the epoch by the store's own clock.
    upload: names an unfinished write to `name`; None for an object. size_bytes: of an unfinished write what is known.
    """

    name: str
    size_bytes: int
    modified_s: float
    upload: str | None = None


class BlobStore(Protocol):
    """Bytes by name, below one root. Blocking: shells call it in threads.

    Names are relative and `/`-separated; each part is of letters, digits and `._=@+-`, and does not begin with a dot:
    others are `ForbiddenLocation`, as is whatever would lead out of the root. A write is seen whole or not at all.
    Drivers' errors come out as `Unavailable` (the store) or `MissingArtifact` (the object).
    """

    @property
    def root(self) -> str:
        """The root's URL, without a trailing slash and without credentials."""
        ...

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None if there is none."""
        ...

    def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:
        """Store all that `source` holds, replacing what was there. size_bytes: how much that is, if it is known.

        When this returns, the object is as safe as the store keeps anything.
        """
        ...

    def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """The object's bytes, in order, at most `chunk_bytes` at a time. Closed half way, it holds nothing open."""
        ...

    def refresh(self, name: str) -> bool:
        """Begin the object's age anew, as writing it again would.

        False: it is not there, or this store has no way; then write it.
        """
        ...

    def entries(self, folder: str) -> Iterator[Blob]:
        """All objects and unfinished writes below a folder, in any order, in bounded memory.

        Those that come or go meanwhile may be in it or not.
        """
        ...

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        """Delete those that were neither written nor refreshed since they were listed; return all that are gone now."""
        ...

    def clock_s(self) -> float:
        """The clock that `Blob.modified_s` is of."""
        ...
