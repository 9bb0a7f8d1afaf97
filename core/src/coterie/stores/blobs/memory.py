"""Blobs in fsspec's memory of this process: for tests and for trying things out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO

from coterie.ports import Blob
from coterie.stores.blobs.objects import Objects, seconds

__all__ = ["InMemory"]

_COPY_BYTES = 2**20
# The objects are the process's, whoever opened them.
_lock = threading.Lock()


class InMemory(Objects):
    """Objects of `memory://`, where nothing is left when the process ends."""

    def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:  # noqa: ARG002
        """Keep all of it, at once."""
        content = source.read()
        with _lock:
            self._fs.pipe_file(self._path(name), content)

    def chunks(self, name: str, *, chunk_bytes: int = _COPY_BYTES) -> Iterator[bytes]:
        """The object's bytes. Not by its file, since all its readers would share one position."""
        content = self._fs.cat_file(self._path(name))
        yield from (content[start : start + chunk_bytes] for start in range(0, len(content), chunk_bytes))

    def refresh(self, name: str) -> bool:
        """Say that it was written now."""
        with _lock:
            kept = self._fs.store.get(self._path(name))
            if kept is None:
                return False
            kept.modified = datetime.now(UTC)
            return True

    def clock_s(self) -> float:
        """This process's clock."""
        return datetime.now(UTC).timestamp()

    def _delete(self, blob: Blob) -> bool:
        with _lock:
            return super()._delete(blob)

    def _modified_s(self, info: Mapping[str, Any]) -> float:
        return seconds(self._fs.modified(info["name"]))
