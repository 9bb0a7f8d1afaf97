"""Blobs on any URL that fsspec knows: a folder, S3, GCS, Azure, memory."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from coterie.errors import MissingArtifact, Misuse, Unavailable

if TYPE_CHECKING:
    from upath import UPath

__all__ = ["FsspecBlobs"]

_COPY_BYTES = 2**20


class FsspecBlobs:
    """Objects below `url`. Credentials come from the driver's own environment, never from the URL.

    Raises:
        Misuse: the URL carries credentials, is relative, or its scheme has no driver here.
    """

    def __init__(self, url: str) -> None:
        self._root = _open_root(url)
        self._local = self._root.protocol in ("", "file", "local")

    @property
    def root(self) -> str:
        """The root's URL."""
        if self._local:
            return f"file://{self._root.path.rstrip('/')}"
        return str(self._root).rstrip("/")

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None."""
        with _translated(self._root, name):
            try:
                return int(self._root.joinpath(name).stat().st_size)
            except FileNotFoundError:
                return None

    def write(self, name: str, source: BinaryIO) -> None:
        """Store all of `source`; on a file system through a temporary name, so that no reader sees a half."""
        path = self._root.joinpath(name)
        with _translated(self._root, name):
            if not self._local:
                with path.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _COPY_BYTES)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            target = Path(path.path)
            partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
            try:
                with partial.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _COPY_BYTES)
                partial.replace(target)
            except BaseException:
                # Also when cancelled: a partial file would stay for ever, nobody knows its name.
                partial.unlink(missing_ok=True)
                raise

    def chunks(self, name: str, *, chunk_bytes: int = _COPY_BYTES) -> Iterator[bytes]:
        """The object's bytes, `chunk_bytes` at a time."""
        with _translated(self._root, name), self._root.joinpath(name).open("rb") as source:
            while chunk := source.read(chunk_bytes):
                yield chunk


def _open_root(url: str) -> UPath:
    from upath import UPath

    parts = urlsplit(url)
    if parts.username or parts.password:
        raise Misuse(
            f"the artifact store URL for {parts.hostname!r} carries credentials; "
            "give them to the driver by its environment, a connection or a block"
        )
    if parts.scheme in ("", "file") and not parts.path.startswith("/"):
        raise Misuse(f"the artifact store {url!r} is a relative path; give an absolute path or a URL")
    try:
        return UPath(parts.path if parts.scheme == "file" else url)
    except (ImportError, ValueError) as error:
        raise Misuse(
            f"no driver for the artifact store {url!r}: {error}; install it (for S3: pip install 'coterie[s3]')"
        ) from error


@contextmanager
def _translated(root: UPath, name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingArtifact(
            f"no object {name!r} in {str(root)!r}; it was deleted or never written: run its task again"
        ) from error
    except (OSError, ImportError, TimeoutError) as error:
        raise Unavailable(
            f"the artifact store {str(root)!r} failed: {type(error).__name__}: {error}; "
            "check that it is reachable and writable, then try again"
        ) from error
