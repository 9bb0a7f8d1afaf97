"""Blobs on any URL that fsspec knows: a folder, S3, GCS, Azure, memory."""

from __future__ import annotations

import io
import math
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import SplitResult, urlsplit

from coterie.errors import CoterieError, MissingArtifact, Misuse, Unavailable

if TYPE_CHECKING:
    from upath import UPath

__all__ = ["FsspecBlobs"]

_COPY_BYTES = 2**20
# Shorter objects are sent whole, in one request; longer ones in pieces.
_WHOLE_BYTES = 16 * 2**20
_LOCAL_SCHEMES = ("", "file", "local")


class FsspecBlobs:
    """Objects below `url`. Credentials come from the driver's own environment or `options`, never from the URL.

    options: what the scheme's fsspec driver takes, such as `{"key": …, "secret": …}` for S3.

    Raises:
        Misuse: the URL carries credentials, is relative, or its scheme has no driver here.
    """

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        self._root = _open_root(url, options or {})
        self._local = self._root.protocol in _LOCAL_SCHEMES
        self._in_memory = self._root.protocol == "memory"

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
        """Store all of `source`, so that no reader ever sees a half, whatever fails on the way."""
        if self._local:
            with _translated(self._root, name, missing=Unavailable):
                _write_file(Path(self._root.joinpath(name).path), source)
            return
        path = self._root.joinpath(name)
        with _translated(self._root, name, missing=Unavailable):
            head, ended = _read_up_to(source, math.inf if self._in_memory else _WHOLE_BYTES)
            if ended:
                path.fs.pipe_file(path.path, head)
            else:
                _stream(path, head, source)

    def chunks(self, name: str, *, chunk_bytes: int = _COPY_BYTES) -> Iterator[bytes]:
        """The object's bytes, `chunk_bytes` at a time."""
        path = self._root.joinpath(name)
        with _translated(self._root, name), self._open(path) as source:
            while chunk := source.read(chunk_bytes):
                yield chunk

    def _open(self, path: UPath) -> BinaryIO:
        if self._in_memory:
            # All readers of an object in memory would share one position.
            return io.BytesIO(path.fs.cat_file(path.path))
        source: BinaryIO = path.open("rb")
        return source


def _write_file(target: Path, source: BinaryIO) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as sink:
            shutil.copyfileobj(source, sink, _COPY_BYTES)
        partial.replace(target)
    except BaseException:
        # Also when cancelled: a partial file would stay for ever, nobody knows its name.
        partial.unlink(missing_ok=True)
        raise


def _read_up_to(source: BinaryIO, limit_bytes: float) -> tuple[bytes, bool]:
    """What `source` holds, up to a little more than the limit; and whether that is all."""
    content = bytearray()
    while chunk := source.read(_COPY_BYTES):
        content += chunk
        if len(content) > limit_bytes:
            return bytes(content), False
    return bytes(content), True


def _stream(path: UPath, head: bytes, source: BinaryIO) -> None:
    sink = path.fs.open(path.path, "wb")
    try:
        sink.write(head)
        shutil.copyfileobj(source, sink, _COPY_BYTES)
    except BaseException:
        # Closing would commit what is there so far.
        sink.discard()
        sink.closed = True
        raise
    sink.close()


def _open_root(url: str, options: Mapping[str, Any]) -> UPath:
    from upath import UPath

    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Misuse(f"the artifact store URL is not a URL: {error}; give an absolute path or a URL") from error
    if _has_credentials(parts):
        raise Misuse(
            f"the artifact store URL with the scheme {parts.scheme!r} carries credentials; "
            "give them to the driver by its environment, a connection or a block"
        )
    local = _local_path(url, parts) if parts.scheme in _LOCAL_SCHEMES else None
    if local is not None and not (local.startswith("/") and parts.netloc in ("", "localhost")):
        raise Misuse(f"the artifact store {url!r} is a relative path; give an absolute path, as in 'file:///var/lib/x'")
    try:
        root = UPath(local) if local is not None else UPath(url, **options)
        # Finds the driver now, not at the first write.
        root.fs  # noqa: B018
    # Each driver has its own errors for its own settings.
    except Exception as error:
        raise Misuse(
            f"no driver for the artifact store {url!r}: {error}; install it (for S3: pip install 'coterie[s3]')"
        ) from error
    return root


def _local_path(url: str, parts: SplitResult) -> str:
    """The path as it is written: `?`, `#` and `%` mean nothing in the name of a folder."""
    rest = url[len(parts.scheme) + 1 :] if parts.scheme else url
    return rest[2 + len(parts.netloc) :] if rest.startswith("//") else rest


def _has_credentials(parts: SplitResult) -> bool:
    """A user in the URL; also where a slash in the password hides it from the parser (`s3://key:a/b@bucket`)."""
    port = parts.netloc.rpartition(":")[2]
    return "@" in parts.netloc or (":" in parts.netloc and not port.isdecimal() and "@" in parts.path)


@contextmanager
def _translated(root: UPath, name: str, *, missing: type[CoterieError] = MissingArtifact) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise missing(
            f"no object {name!r} in {str(root)!r}; it was deleted or never written: run its task again"
            if missing is MissingArtifact
            else f"the artifact store {str(root)!r} cannot be written to: {error}; create it, or correct its URL"
        ) from error
    except CoterieError:
        raise
    # Drivers have error trees of their own (botocore's is no OSError): all mean that the store failed.
    except Exception as error:
        raise Unavailable(
            f"the artifact store {str(root)!r} failed: {type(error).__name__}: {error}; "
            "check that it is reachable and writable, then try again"
        ) from error
