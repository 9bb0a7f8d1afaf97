"""`coterie.ArtifactStore` for code that cannot await."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar, overload

from coterie._json import JsonValue
from coterie.artifacts import BYTES_MEDIA_TYPE, TEXT_MEDIA_TYPE, ChunkFile
from coterie.ref import JSON_MEDIA_TYPE, Ref
from coterie.sync.portal import run

if TYPE_CHECKING:
    from coterie import artifacts

__all__ = ["ArtifactStore"]

T = TypeVar("T")


class ArtifactStore:
    """`coterie.ArtifactStore`, blocking. options: as the other takes them, for a URL."""

    def __init__(
        self,
        url: str | artifacts.ArtifactStore,
        *,
        namespace: str = "default",
        compress: Literal["zstd"] | None = None,
        copies: str | Path | None = None,
    ) -> None:
        from coterie.artifacts import ArtifactStore as Async

        if isinstance(url, str):
            url = Async(url, namespace=namespace, compress=compress, copies=copies)
        self._store = url

    @property
    def url(self) -> str:
        """The root's URL."""
        return self._store.url

    def recall(self, data: Mapping[str, Any]) -> Ref:
        """See `coterie.ArtifactStore.recall`."""
        return self._store.recall(data)

    def put(self, value: object, *, media_type: str = JSON_MEDIA_TYPE) -> Ref:
        """See `coterie.ArtifactStore.put`."""
        return run(self._store.put(value, media_type=media_type))

    def put_text(self, text: str, media_type: str = TEXT_MEDIA_TYPE) -> Ref:
        """See `coterie.ArtifactStore.put_text`."""
        return run(self._store.put_text(text, media_type))

    def put_bytes(self, content: bytes, media_type: str = BYTES_MEDIA_TYPE) -> Ref:
        """See `coterie.ArtifactStore.put_bytes`."""
        return run(self._store.put_bytes(content, media_type))

    def put_file(self, path: str | Path, media_type: str = BYTES_MEDIA_TYPE) -> Ref:
        """See `coterie.ArtifactStore.put_file`."""
        return run(self._store.put_file(path, media_type))

    def put_stream(self, source: BinaryIO | Iterable[bytes], media_type: str = BYTES_MEDIA_TYPE) -> Ref:
        """See `coterie.ArtifactStore.put_stream`. The source is read in another thread."""
        return run(self._store.put_stream(source, media_type))

    @overload
    def load(self, ref: Ref) -> JsonValue: ...
    @overload
    def load(self, ref: Ref, type_: type[T]) -> T: ...
    @overload
    def load(self, ref: Ref, type_: Any) -> Any: ...
    def load(self, ref: Ref, type_: Any = None) -> Any:
        """See `coterie.ArtifactStore.load`."""
        return run(self._store.load(ref, type_))

    def load_text(self, ref: Ref) -> str:
        """See `coterie.ArtifactStore.load_text`."""
        return run(self._store.load_text(ref))

    def read_bytes(self, ref: Ref) -> bytes:
        """See `coterie.ArtifactStore.read_bytes`."""
        return run(self._store.read_bytes(ref))

    def copy_to(self, ref: Ref, path: str | Path) -> None:
        """See `coterie.ArtifactStore.copy_to`."""
        run(self._store.copy_to(ref, path))

    def open(self, ref: Ref) -> BinaryIO:
        """The content as a file to be read once, verified at its end: see `coterie.ArtifactStore.stream`."""
        return io.BufferedReader(ChunkFile(self.stream(ref)))

    def stream(self, ref: Ref, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """See `coterie.ArtifactStore.stream`."""
        reader = self._store.open(ref, chunk_bytes=chunk_bytes)
        try:
            while chunk := run(reader.read(chunk_bytes)):
                yield chunk
        finally:
            run(reader.aclose())

    def path(self, ref: Ref) -> Path:
        """See `coterie.ArtifactStore.path`."""
        return run(self._store.path(ref))

    def collect(
        self, reachable: Iterable[artifacts.Root], *, min_age_s: float, dry_run: bool = False
    ) -> artifacts.Collected:
        """See `coterie.ArtifactStore.collect`."""
        return run(self._store.collect(reachable, min_age_s=min_age_s, dry_run=dry_run))
