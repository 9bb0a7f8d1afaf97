"""What the outside must offer: the Protocols that stores implement and shells are built on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

__all__ = ["BlobStore"]


class BlobStore(Protocol):
    """Bytes by name, below one root. Blocking: shells call it in threads.

    Names are relative, `/`-separated. A write is seen whole or not at all. Drivers' errors come out as
    `Unavailable` (the store) or `MissingArtifact` (the object).
    """

    @property
    def root(self) -> str:
        """The root's URL, without a trailing slash and without credentials."""
        ...

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None if there is none."""
        ...

    def write(self, name: str, source: BinaryIO) -> None:
        """Store all that `source` holds, replacing what was there."""
        ...

    def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """The object's bytes, in order."""
        ...
