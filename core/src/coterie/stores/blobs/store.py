"""One door to every backend: checks names, and says in coterie's words what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from coterie.errors import CoterieError, MissingArtifact, Unavailable
from coterie.ports import Blob, BlobStore
from coterie.stores.blobs.names import check_blob_name
from coterie.stores.blobs.opening import open_backend

__all__ = ["FsspecBlobs"]


class FsspecBlobs:
    """Objects below `url`. Credentials come from the driver's own environment or `options`, never from the URL.

    options: what the scheme's fsspec driver takes, such as `{"key": …, "secret": …}` for S3.

    Raises:
        Misuse: the URL carries credentials, is relative, or its scheme has no driver here.
    """

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        self._backend: BlobStore = open_backend(url, options or {})

    @property
    def root(self) -> str:
        """The root's URL."""
        return self._backend.root

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None."""
        with self._translated(name):
            return self._backend.size_bytes(check_blob_name(name))

    def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:
        """Store all of `source`, so that no reader ever sees a half, whatever fails on the way."""
        with self._translated(name, missing=Unavailable):
            self._backend.write(check_blob_name(name), source, size_bytes=size_bytes)

    def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """The object's bytes, at most `chunk_bytes` at a time."""
        with self._translated(name):
            yield from self._backend.chunks(check_blob_name(name), chunk_bytes=chunk_bytes)

    def refresh(self, name: str) -> bool:
        """Begin the object's age anew; False if it is not there, or the backend has no way."""
        with self._translated(name):
            return self._backend.refresh(check_blob_name(name))

    def entries(self, folder: str) -> Iterator[Blob]:
        """All objects and unfinished writes below a folder; a page, or a folder of them, at a time in memory."""
        with self._translated(folder, missing=Unavailable):
            yield from self._backend.entries(check_blob_name(folder))

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        """Delete those that nobody wrote or refreshed since they were listed; return all that are gone now."""
        for blob in blobs:
            check_blob_name(blob.name)
        with self._translated(blobs[0].name if blobs else "", missing=Unavailable):
            return self._backend.delete(blobs)

    def clock_s(self) -> float:
        """The backend's own clock, which objects' ages are measured by."""
        with self._translated("its clock", missing=Unavailable):
            return self._backend.clock_s()

    @contextmanager
    def _translated(self, name: str, *, missing: type[CoterieError] = MissingArtifact) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise missing(
                f"no object {name!r} in {self.root!r}; it was deleted or never written: run its task again"
                if missing is MissingArtifact
                else f"the artifact store {self.root!r} cannot be written to: {error}; create it, or correct its URL"
            ) from error
        except CoterieError:
            raise
        # Drivers have error trees of their own (botocore's is no OSError): all mean that the store failed.
        except Exception as error:
            raise Unavailable(
                f"the artifact store {self.root!r} failed: {type(error).__name__}: {error}; "
                "check that it is reachable and writable, then try again"
            ) from error
