"""The artifact store: payloads by their content."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, overload

from coterie._json import JsonValue
from coterie._threads import in_thread
from coterie.artifacts.collection import Collected, Root, collect
from coterie.artifacts.compression import require_zstandard
from coterie.artifacts.content import Contents
from coterie.artifacts.handle import Artifact
from coterie.artifacts.lanes import Lanes
from coterie.artifacts.layout import Layout
from coterie.artifacts.local_copies import LocalCopies, copy_to_file, default_folder
from coterie.artifacts.measured import COPY_BYTES, Spool, checked_chunk, chunks_of, measure
from coterie.artifacts.reader import ArtifactReader
from coterie.artifacts.values import document, text_of, validated
from coterie.errors import Misuse, PolicyError, Unavailable
from coterie.ids import check_name
from coterie.ports import BlobStore
from coterie.ref import INLINE_BYTES, JSON_MEDIA_TYPE, Ref, parsed

__all__ = ["ArtifactStore"]

T = TypeVar("T")

DEFAULT_TIMEOUT_S = 300.0
DEFAULT_THREADS = 32
TEXT_MEDIA_TYPE = "text/plain"
BYTES_MEDIA_TYPE = "application/octet-stream"
_made = count()


class ArtifactStore:
    """Content-addressed storage below one URL and namespace: equal content lies there once.

    url: any that fsspec knows, absolute (`file:///var/lib/coterie`, `s3://bucket/prefix`), or a `BlobStore`.

    timeout_s: for one object, written or read whole, or one piece of one that is streamed; a store that takes longer
    is `Unavailable`.

    compress: what is new, at least 4 KiB and shrinks by it, is kept compressed; references and hashes stay those of
    the content, and any store reads both forms.

    copies: the folder for `path`, by default `content` in `COTERIE_HOME` or `coterie/content` in the user's cache.

    threads: how many of its calls work at a time in one event loop, and from how many blocking sources it reads; others
    wait.

    References outside this URL and namespace are refused, whoever made them.
    """

    def __init__(
        self,
        url: str | BlobStore,
        *,
        namespace: str = "default",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        compress: Literal["zstd"] | None = None,
        copies: str | Path | None = None,
        threads: int = DEFAULT_THREADS,
    ) -> None:
        check_name(namespace, "namespace")
        if not timeout_s > 0:
            raise PolicyError(f"the artifact store has timeout_s {timeout_s!r}; give seconds > 0")
        if threads < 1:
            raise PolicyError(f"the artifact store has threads {threads!r}; give at least 1")
        if compress not in (None, "zstd"):
            raise PolicyError(f"the artifact store has compress {compress!r}; give 'zstd' or None")
        if compress is not None:
            require_zstandard()
        self.namespace = namespace
        self._timeout_s = timeout_s
        self._threads = threads
        self._lanes = Lanes(threads)
        # Apart: what a source waits for may itself be a call of this store.
        self._source_lanes = Lanes(threads)
        self._copies_folder = None if copies is None else Path(copies)
        self._copies: LocalCopies | None = None
        blobs = _open(url) if isinstance(url, str) else url
        layout = Layout(blobs.root, namespace)
        self._contents = Contents(blobs, layout, compressing=compress is not None)
        # Stores of one URL are one; what somebody else made may be anything.
        self._scope = "" if isinstance(url, str) else str(next(_made))

    def __repr__(self) -> str:
        return f"ArtifactStore({self.url!r}, namespace={self.namespace!r})"

    @property
    def url(self) -> str:
        """The root's URL; it carries no credentials."""
        return self._contents.layout.root

    def reference(self, sha256: str, size_bytes: int, media_type: str = BYTES_MEDIA_TYPE) -> Ref:
        """The reference that storing content of this hash gives. Nothing is read: the content may be missing."""
        return self._contents.layout.ref(sha256, size_bytes, media_type)

    def recall(self, data: Mapping[str, Any]) -> Ref:
        """The reference behind what `Ref.portable` or `Ref.serialize` gave.

        Raises:
            Misuse: it is neither.
        """
        return self._contents.layout.recall(data)

    def artifact(self, ref: Ref) -> Artifact:
        """A handle that reads nothing until it is asked, and remembers what it read."""
        return Artifact(ref, self)

    # Writing.

    async def put(self, value: object, *, media_type: str = JSON_MEDIA_TYPE) -> Ref:
        """Store a JSON value, in which pydantic models and dataclasses may stand for objects.

        Up to 400 bytes of it travel in the reference and are not stored.
        """
        content = document(value)
        if len(content) <= INLINE_BYTES:
            return Ref.inline(content, media_type)
        return await self.put_bytes(content, media_type)

    async def put_text(self, text: str, media_type: str = TEXT_MEDIA_TYPE) -> Ref:
        """Store text, as UTF-8. Up to 400 bytes of it travel in the reference and are not stored.

        Raises:
            Misuse: it holds half of a character.
        """
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise Misuse(f"the text holds half of a character: {error}; give whole text") from error
        if len(content) <= INLINE_BYTES:
            return Ref.inline(content, media_type)
        return await self.put_bytes(content, media_type)

    async def put_bytes(self, content: bytes, media_type: str = BYTES_MEDIA_TYPE) -> Ref:
        """Store bytes, whatever their size."""
        return await self._io(self._put_open, io.BytesIO(content), media_type)

    async def put_file(self, path: str | Path, media_type: str = BYTES_MEDIA_TYPE) -> Ref:
        """Stream a local file into the store."""
        return await self._io(self._put_file, Path(path), media_type)

    async def put_stream(
        self, source: BinaryIO | Iterable[bytes] | AsyncIterable[bytes], media_type: str = BYTES_MEDIA_TYPE
    ) -> Ref:
        """Store what a binary file still holds, or what an iterator gives, of whatever length.

        It is hashed while it comes, and kept meanwhile in memory (up to 4 MiB) or in a temporary file; then it is sent
        to the store at once. However slowly it comes, only the sending counts for `timeout_s`. A file stays open.
        """
        if isinstance(source, io.BytesIO | io.BufferedReader | io.FileIO) and source.seekable():
            return await self._io(self._put_open, source, media_type)
        spool = Spool()
        try:
            if isinstance(source, AsyncIterable):
                await self._spool(spool, source)
            else:
                await self._spool_blocking(spool, source)
            return await self._io(self._put_spool, spool, media_type)
        finally:
            spool.close()

    # Reading.

    @overload
    async def load(self, ref: Ref) -> JsonValue: ...
    @overload
    async def load(self, ref: Ref, type_: type[T]) -> T: ...
    @overload
    async def load(self, ref: Ref, type_: Any) -> Any: ...
    async def load(self, ref: Ref, type_: Any = None) -> Any:
        """The JSON value behind `ref`, verified; with `type_`, validated to it by pydantic.

        Raises:
            MissingArtifact, CorruptArtifact, ForbiddenLocation, Unavailable.
            Misuse: it is no `type_`.
        """
        content = await self.read_bytes(ref)
        return parsed(ref, content) if type_ is None else validated(ref, content, type_)

    async def load_text(self, ref: Ref) -> str:
        """The UTF-8 text behind `ref`, verified."""
        return text_of(ref, await self.read_bytes(ref))

    async def read_bytes(self, ref: Ref) -> bytes:
        """The bytes behind `ref`, verified, in memory."""
        if ref.is_inline:
            return ref.inline_bytes()
        return await self._io(self._read, ref)

    async def copy_to(self, ref: Ref, path: str | Path) -> None:
        """Stream the content to a local file; on any error there is no file."""
        await self._io(self._copy_to, ref, Path(path))

    def open(self, ref: Ref, *, chunk_bytes: int = COPY_BYTES) -> ArtifactReader:
        """A reader of the content, in pieces of at most `chunk_bytes`; nothing is read until it is asked to."""
        if chunk_bytes < 1:
            raise PolicyError(f"content is to be read in chunks of {chunk_bytes!r} bytes; give at least 1")
        return ArtifactReader(self._contents.chunks(ref, chunk_bytes=chunk_bytes), self._io)

    async def stream(self, ref: Ref, *, chunk_bytes: int = COPY_BYTES) -> AsyncIterator[bytes]:
        """The content in pieces of at most `chunk_bytes`. The last one comes only if all of it is what `ref` says.

        Raises, on the way:
            MissingArtifact, CorruptArtifact, ForbiddenLocation, Unavailable.
        """
        async with self.open(ref, chunk_bytes=chunk_bytes) as reader:
            async for chunk in reader:
                yield chunk

    async def path(self, ref: Ref) -> Path:
        """A file of this machine with the content, verified, for reading only; copied once for all who ask.

        It stays until somebody removes the folder for copies.
        """
        if self._copies is None:
            self._copies = LocalCopies(self._copies_folder or default_folder(), self._contents)
        return await self._io(self._copies.path_of, ref)

    def cache_key(self, ref: Ref) -> str:
        """What content read by this store may be remembered as in this process.

        Raises:
            ForbiddenLocation: the reference points elsewhere.
        """
        self._contents.layout.check(ref)
        return self._scope + ref.uri

    # Keeping house.

    async def missing(self, refs: Sequence[Ref]) -> list[Ref]:
        """Those that would be refused as missing. Nothing is read; of what lies elsewhere, nothing is known.

        Raises:
            Unavailable: the store failed.
        """
        stored = list({ref.uri: ref for ref in refs if not ref.is_inline}.values())
        # As many at a time as the store has threads.
        shares = [stored[first :: self._threads] for first in range(min(self._threads, len(stored)))]
        found = await asyncio.gather(*(self._io(self._contents.missing, share) for share in shares))
        return [ref for share in found for ref in share]

    async def collect(
        self, reachable: AsyncIterable[Root] | Iterable[Root], *, min_age_s: float, dry_run: bool = False
    ) -> Collected:
        """Delete the content of this namespace that nothing refers to and nobody has stored for `min_age_s`.

        reachable: all that must stay, as references or SHA-256 digests; and so must what it refers to: JSON documents
        among it (`application/json`, `…+json`) are read, once each, and what they name is followed.

        What is stored while this runs is safe, as storing content that is there begins its age anew: so `min_age_s`
        must be longer than the slowest upload takes, and than it takes from storing something to naming it among the
        reachable. Memory is bounded, whatever the number of objects; reachable ones are noted in a temporary file.

        Raises:
            Unavailable: the store failed. If that was before the first deletion, which begins when all that is
                reachable is known, nothing has changed.
        """
        return await collect(self._contents, self._io, reachable, min_age_s=min_age_s, dry_run=dry_run)

    # In threads.

    async def _io(self, work: Callable[..., T], *arguments: object) -> T:
        async with self._lanes.here():
            scope = asyncio.timeout(self._timeout_s)
            try:
                async with scope:
                    return await in_thread(work, *arguments)
            except TimeoutError as error:
                if not scope.expired():
                    raise
                raise Unavailable(
                    f"the artifact store {self.url!r} did not answer within {self._timeout_s:g} s; "
                    "check that it is reachable, then try again, or give it a longer timeout_s"
                ) from error

    async def _spool(self, spool: Spool, source: AsyncIterable[bytes]) -> None:
        pending: list[bytes] = []
        size_bytes = 0
        async for chunk in source:
            pending.append(checked_chunk(chunk))
            size_bytes += len(chunk)
            if size_bytes >= COPY_BYTES:
                async with self._lanes.here():
                    await in_thread(spool.take, b"".join(pending))
                pending, size_bytes = [], 0
        spool.take(b"".join(pending))

    async def _spool_blocking(self, spool: Spool, source: BinaryIO | Iterable[bytes]) -> None:
        stop = threading.Event()
        try:
            async with self._source_lanes.here():
                await in_thread(partial(spool.take_all, chunks_of(source), stop))
        finally:
            stop.set()

    def _put_file(self, path: Path, media_type: str) -> Ref:
        with path.open("rb") as source:
            return self._put_open(source, media_type)

    def _put_open(self, source: BinaryIO, media_type: str) -> Ref:
        return self._contents.store(measure(source), media_type)

    def _put_spool(self, spool: Spool, media_type: str) -> Ref:
        return self._contents.store(spool.measured(), media_type)

    def _read(self, ref: Ref) -> bytes:
        return b"".join(self._contents.chunks(ref))

    def _copy_to(self, ref: Ref, path: Path) -> None:
        copy_to_file(self._contents.chunks(ref), path)


def _open(url: str) -> BlobStore:
    from coterie.stores.blobs import FsspecBlobs

    return FsspecBlobs(os.fspath(url))
