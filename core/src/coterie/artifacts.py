"""The artifact store: payloads by their content, verified on every read."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from coterie._json import JsonValue, canonical_bytes
from coterie._threads import in_thread
from coterie.errors import ForbiddenLocation, MissingArtifact, Misuse, PolicyError, Unavailable
from coterie.ids import check_name
from coterie.ports import BlobStore
from coterie.ref import INLINE_BYTES, JSON_MEDIA_TYPE, Ref, parsed, verify

__all__ = ["ArtifactStore", "surrounding_artifacts", "using_artifacts"]

T = TypeVar("T")

DEFAULT_TIMEOUT_S = 300.0
_CHUNK_BYTES = 2**20
_surrounding: ContextVar[ArtifactStore | None] = ContextVar("coterie_artifacts", default=None)


class ArtifactStore:
    """Content-addressed storage below one URL and namespace: equal content lies there once.

    url: any that fsspec knows, absolute (`file:///var/lib/coterie`, `s3://bucket/prefix`), or a `BlobStore`.

    timeout_s: for one object, read or written; a store that takes longer is `Unavailable`.

    References outside this URL and namespace are refused, whoever made them.
    """

    def __init__(
        self, url: str | BlobStore, *, namespace: str = "default", timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        check_name(namespace, "namespace")
        if not timeout_s > 0:
            raise PolicyError(f"the artifact store has timeout_s {timeout_s!r}; give seconds > 0")
        self.namespace = namespace
        self._timeout_s = timeout_s
        self._blobs = _open(url) if isinstance(url, str) else url
        self._prefix = f"{self._blobs.root}/{namespace}/sha256/"

    def __repr__(self) -> str:
        return f"ArtifactStore({self._blobs.root!r}, namespace={self.namespace!r})"

    @property
    def url(self) -> str:
        """The root's URL; it carries no credentials."""
        return self._blobs.root

    def reference(self, sha256: str, size_bytes: int, media_type: str = "application/octet-stream") -> Ref:
        """The reference that storing content of this hash gives. Nothing is read: the content may be missing."""
        return Ref(f"{self._prefix}{sha256[:2]}/{sha256}", sha256, size_bytes, media_type)

    def recall(self, data: Mapping[str, Any]) -> Ref:
        """The reference behind what `Ref.portable` or `Ref.serialize` gave.

        Raises:
            Misuse: it is neither.
        """
        if "uri" in data:
            return Ref.deserialize(data)
        try:
            return self.reference(data["sha256"], data["size_bytes"], data["media_type"])
        except KeyError as error:
            raise Misuse(f"not a reference: {error!r} in {str(data)[:200]!r}; pass what `portable` gave") from error

    async def put(self, value: JsonValue, *, media_type: str = JSON_MEDIA_TYPE) -> Ref:
        """Store a JSON value. Up to 400 bytes of it travel in the reference and are not stored."""
        content = canonical_bytes(value)
        if len(content) <= INLINE_BYTES:
            return Ref.inline(content, media_type)
        return await self.put_bytes(content, media_type)

    async def put_bytes(self, content: bytes, media_type: str = "application/octet-stream") -> Ref:
        """Store bytes, whatever their size."""
        return await self._io(self._put, io.BytesIO(content), media_type)

    async def put_file(self, path: str | Path, media_type: str = "application/octet-stream") -> Ref:
        """Stream a local file into the store."""
        return await self._io(self._put_file, Path(path), media_type)

    async def load(self, ref: Ref) -> JsonValue:
        """The JSON value behind `ref`, verified.

        Raises:
            MissingArtifact, CorruptArtifact, ForbiddenLocation, Unavailable.
        """
        return parsed(ref, await self.read_bytes(ref))

    async def read_bytes(self, ref: Ref) -> bytes:
        """The bytes behind `ref`, verified, in memory."""
        if ref.is_inline:
            return ref.inline_bytes()
        sink = io.BytesIO()
        await self._io(self._copy, ref, sink)
        return sink.getvalue()

    async def copy_to(self, ref: Ref, path: str | Path) -> None:
        """Stream the content to a local file; on any error there is no file."""
        await self._io(self._copy_to, ref, Path(path))

    async def _io(self, work: Callable[..., T], *args: object) -> T:
        scope = asyncio.timeout(self._timeout_s)
        try:
            async with scope:
                return await in_thread(work, *args)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise Unavailable(
                f"the artifact store {self.url!r} did not answer within {self._timeout_s:g} s; "
                "check that it is reachable, then try again, or give it a longer timeout_s"
            ) from error

    def _put_file(self, path: Path, media_type: str) -> Ref:
        with path.open("rb") as source:
            return self._put(source, media_type)

    def _put(self, source: BinaryIO, media_type: str) -> Ref:
        digest, size = hashlib.sha256(), 0
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
        sha256 = digest.hexdigest()
        name = f"{sha256[:2]}/{sha256}"
        stored = f"{self.namespace}/sha256/{name}"
        # An object of another size is a torn or foreign write: replaced, not trusted.
        if self._blobs.size_bytes(stored) != size:
            source.seek(0)
            self._blobs.write(stored, _Unchanged(source, sha256))
        return self.reference(sha256, size, media_type)

    def _copy_to(self, ref: Ref, path: Path) -> None:
        try:
            with path.open("wb") as sink:
                self._copy(ref, sink)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _copy(self, ref: Ref, sink: BinaryIO) -> None:
        if ref.is_inline:
            sink.write(ref.inline_bytes())
            return
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks(ref):
            digest.update(chunk)
            size += len(chunk)
            if size > ref.size_bytes:
                break
            sink.write(chunk)
        verify(ref, digest.hexdigest(), size)

    def _chunks(self, ref: Ref) -> Iterator[bytes]:
        name = ref.uri.removeprefix(self._prefix)
        # The only names that this store writes; anything else could climb out of the root.
        if name == ref.uri or name != f"{ref.sha256[:2]}/{ref.sha256}" or not _is_digest(ref.sha256):
            raise ForbiddenLocation(
                f"{ref.uri[:200]!r} is not an object of {self!r}; use the store (and namespace) that wrote it"
            )
        try:
            yield from self._blobs.chunks(f"{self.namespace}/sha256/{name}")
        except MissingArtifact as error:
            raise MissingArtifact(f"{ref.uri!r} is not there any more; run the task that wrote it again") from error


@contextmanager
def using_artifacts(store: ArtifactStore | None) -> Iterator[None]:
    """Within this block, and in all that it starts, `Ref.load()` reads from `store`; None changes nothing."""
    token = _surrounding.set(store if store is not None else _surrounding.get())
    try:
        yield
    finally:
        _surrounding.reset(token)


def surrounding_artifacts() -> ArtifactStore | None:
    """The store that `using_artifacts` named for the code that asks."""
    return _surrounding.get()


class _Unchanged(io.RawIOBase, BinaryIO):
    """Reads `source` and refuses to end if it is not what was hashed: an object must be what its name says."""

    def __init__(self, source: BinaryIO, sha256: str) -> None:
        self._source = source
        self._sha256 = sha256
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        self._digest.update(chunk)
        if not chunk or size < 0:
            self._check()
        return chunk

    def _check(self) -> None:
        if self._digest.hexdigest() != self._sha256:
            raise Misuse("the content changed while it was stored; store it when nobody writes to it any more")


def _open(url: str) -> BlobStore:
    from coterie.stores.blobs import FsspecBlobs

    return FsspecBlobs(os.fspath(url))


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
