"""Blobs by fsspec's common interface: object stores of every kind, as far as their drivers go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from coterie.errors import Misuse
from coterie.ports import Blob

if TYPE_CHECKING:
    from upath import UPath

__all__ = ["Objects"]

_COPY_BYTES = 2**20
# Objects shorter than a piece are sent whole, in one request; longer ones piece by piece, held in memory one at a time.
_PIECE_BYTES = 5 * 2**20
# So much is asked for in one request, once it is clear that all is wanted.
_FETCHED_BYTES = 4 * 2**20
# What S3 takes at most is 10,000; others take as many or more.
_MAX_PIECES = 9_000
_CLOCK = ".coterie-clock"
# What drivers call the time of the last change.
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified")


class Objects:
    """Objects below a root. Ages are told by most drivers; beginning one anew is writing it again."""

    # How the driver's files are opened for reading.
    _reading: Mapping[str, Any] = {"block_size": _PIECE_BYTES}

    def __init__(self, root: UPath) -> None:
        self._root = str(root).rstrip("/")
        self._base = root.path.rstrip("/")
        self._fs = root.fs

    @property
    def root(self) -> str:
        """The root's URL."""
        return self._root

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None."""
        try:
            return int(self._fs.info(self._path(name))["size"])
        except FileNotFoundError:
            return None

    def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:
        """Send the object whole, or in pieces that become an object when all are there."""
        head, ended = _read_up_to(source, _PIECE_BYTES)
        if ended:
            self._fs.pipe_file(self._path(name), head)
            return
        piece_bytes = max(_PIECE_BYTES, -(-(size_bytes or 0) // _MAX_PIECES))
        sink = self._fs.open(self._path(name), "wb", block_size=piece_bytes)
        try:
            sink.write(head)
            del head
            shutil.copyfileobj(source, sink, _COPY_BYTES)
        except BaseException:
            # Closing would commit what is there so far.
            sink.discard()
            sink.closed = True
            raise
        sink.close()

    def chunks(self, name: str, *, chunk_bytes: int = _COPY_BYTES) -> Iterator[bytes]:
        """The object's bytes, asked for in growing requests: who wants only the beginning gets little more."""
        with self._fs.open(self._path(name), "rb", **self._reading) as source:
            asked = chunk_bytes
            while piece := source.read(asked):
                yield from (piece[start : start + chunk_bytes] for start in range(0, len(piece), chunk_bytes))
                asked = max(chunk_bytes, min(2 * asked, _FETCHED_BYTES))

    def refresh(self, name: str) -> bool:  # noqa: ARG002 # as the port has it
        """Nothing that all drivers could do."""
        return False

    def entries(self, folder: str) -> Iterator[Blob]:
        """Objects below a folder, one folder of them at a time."""
        pending = [self._path(folder)]
        while pending:
            here = pending.pop()
            try:
                listed = self._fs.ls(here, detail=True)
            except FileNotFoundError:
                continue
            finally:
                # The driver would answer from the listing for ever.
                self._fs.invalidate_cache(here)
            for info in listed:
                if info["type"] != "directory":
                    yield Blob(self._name(info["name"]), int(info["size"]), self._modified_s(info))
                elif info["name"].strip("/") != here.strip("/"):
                    pending.append(info["name"])

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        """Delete objects that are as they were listed, one look and one request each."""
        return [blob for blob in blobs if self._delete(blob)]

    def clock_s(self) -> float:
        """When a marker, written now, was written."""
        marker = f"{self._base}/{_CLOCK}"
        self._fs.pipe_file(marker, b"")
        return self._modified_s(self._fs.info(marker))

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _name(self, path: str) -> str:
        return path.lstrip("/").removeprefix(self._base.lstrip("/") + "/")

    def _delete(self, blob: Blob) -> bool:
        try:
            if self._modified_s(self._fs.info(self._path(blob.name))) != blob.modified_s:
                return False
            self._fs.rm_file(self._path(blob.name))
        except FileNotFoundError:
            return True
        return True

    def _modified_s(self, info: Mapping[str, Any]) -> float:
        told = next((info[key] for key in _TIMES if info.get(key)), None)
        if told is None:
            try:
                told = self._fs.modified(info["name"])
            except NotImplementedError as error:
                raise Misuse(
                    f"the driver of {self._root!r} does not say when objects were written, so none can be called old; "
                    "remove what no run needs by the store's own means"
                ) from error
        return seconds(told)


def seconds(told: datetime | str | float) -> float:
    """A driver's instant, as seconds since the epoch."""
    if isinstance(told, str):
        told = datetime.fromisoformat(told)
    return told.timestamp() if isinstance(told, datetime) else float(told)


def _read_up_to(source: BinaryIO, limit_bytes: int) -> tuple[bytes, bool]:
    """What `source` holds, up to a little more than the limit; and whether that is all."""
    pieces, size = [], 0
    while chunk := source.read(_COPY_BYTES):
        pieces.append(chunk)
        size += len(chunk)
        if size > limit_bytes:
            return b"".join(pieces), False
    return b"".join(pieces), True
