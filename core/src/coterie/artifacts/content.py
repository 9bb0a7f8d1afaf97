"""Content in a blob store, plain or compressed: found, stored once, read and verified. Blocking."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain

from coterie.artifacts.chunk_file import ChunkFile, close_chunks
from coterie.artifacts.compression import HEADER_BYTES, MIN_BYTES, Header, compress, decompress
from coterie.artifacts.layout import COMPRESSED, PLAIN, Layout
from coterie.artifacts.measured import COPY_BYTES, Measured
from coterie.errors import MissingArtifact
from coterie.ports import BlobStore
from coterie.ref import Ref, verify

__all__ = ["Contents"]


class Contents:
    """What a namespace holds. compressing: whether what is new is compressed."""

    def __init__(self, blobs: BlobStore, layout: Layout, *, compressing: bool) -> None:
        self.blobs = blobs
        self.layout = layout
        self._compressing = compressing

    def store(self, content: Measured, media_type: str) -> Ref:
        """Store it, unless it is there: then its age begins anew."""
        ref = self.layout.ref(content.sha256, content.size_bytes, media_type)
        if not any(self._renewed(ref, form) for form in self._forms_written(ref.size_bytes)):
            self._write(content)
        return ref

    def chunks(self, ref: Ref, *, chunk_bytes: int = COPY_BYTES) -> Iterator[bytes]:
        """The content in pieces. The last one comes only if all of it is what the reference says.

        Raises:
            MissingArtifact, CorruptArtifact, ForbiddenLocation, Unavailable.
        """
        held = b""
        with closing(self.unheld_chunks(ref, chunk_bytes=chunk_bytes)) as chunks:
            for chunk in chunks:
                if held:
                    yield held
                held = chunk
        if held:
            yield held

    def unheld_chunks(self, ref: Ref, *, chunk_bytes: int = COPY_BYTES) -> Generator[bytes, None, None]:
        """The same, but all pieces come; then the error, if they are not what the reference says."""
        if ref.is_inline:
            yield ref.inline_bytes()
            return
        self.layout.check(ref)
        digest, size_bytes = hashlib.sha256(), 0
        with closing(self._unverified(ref, chunk_bytes)) as chunks:
            for chunk in chunks:
                size_bytes += len(chunk)
                digest.update(chunk)
                if size_bytes > ref.size_bytes:
                    break
                yield chunk
        verify(ref, digest.hexdigest(), size_bytes)

    def missing(self, refs: Sequence[Ref]) -> list[Ref]:
        """Those of this namespace that are not there."""
        here = [ref for ref in refs if ref.uri == f"{self.layout.root}/{self.layout.name(ref.sha256)}"]
        return [ref for ref in here if not any(map(partial(self._is_there, ref), self._forms_read(ref.size_bytes)))]

    def _is_there(self, ref: Ref, form: str) -> bool:
        return self.blobs.size_bytes(self.layout.name(ref.sha256, form)) is not None

    def known(self, sha256: str, media_type: str) -> Ref | None:
        """The reference to content of which no more than the hash is known, if it is there."""
        size_bytes = self.blobs.size_bytes(self.layout.name(sha256))
        if size_bytes is None:
            header = self._header(sha256)
            size_bytes = header.size_bytes if header else None
        return None if size_bytes is None else self.layout.ref(sha256, size_bytes, media_type)

    def _forms_written(self, size_bytes: int) -> tuple[str, ...]:
        # Who does not compress does not rely on what is compressed: it must be able to read what it stored.
        return (COMPRESSED, PLAIN) if self._compressing and size_bytes >= MIN_BYTES else (PLAIN,)

    def _forms_read(self, size_bytes: int) -> tuple[str, ...]:
        return (COMPRESSED, PLAIN) if self._compressing and size_bytes >= MIN_BYTES else (PLAIN, COMPRESSED)

    def _renewed(self, ref: Ref, form: str) -> bool:
        name = self.layout.name(ref.sha256, form)
        stored_bytes = self.blobs.size_bytes(name)
        if stored_bytes is None:
            return False
        expected: int | None = ref.size_bytes
        if form == COMPRESSED:
            header = self._header(ref.sha256)
            expected = header.stored_bytes if header and header[:2] == (ref.sha256, ref.size_bytes) else None
        # An object of another size is a torn or foreign write: replaced, not trusted.
        return stored_bytes == expected and self.blobs.refresh(name)

    def _write(self, content: Measured) -> None:
        if COMPRESSED in self._forms_written(content.size_bytes):
            compressed = compress(content.reader(), content.sha256, content.size_bytes)
            if compressed is not None:
                file, stored_bytes = compressed
                with file:
                    self.blobs.write(self.layout.name(content.sha256, COMPRESSED), file, size_bytes=stored_bytes)
                return
        self.blobs.write(self.layout.name(content.sha256), content.reader(), size_bytes=content.size_bytes)

    def _header(self, sha256: str) -> Header | None:
        chunks = self.blobs.chunks(self.layout.name(sha256, COMPRESSED), chunk_bytes=HEADER_BYTES)
        try:
            with ChunkFile(chunks) as file:
                return Header.read(file.read_exactly(HEADER_BYTES))
        except MissingArtifact:
            return None

    def _unverified(self, ref: Ref, chunk_bytes: int) -> Generator[bytes, None, None]:
        missing: MissingArtifact | None = None
        for form in self._forms_read(ref.size_bytes):
            chunks = self.blobs.chunks(self.layout.name(ref.sha256, form), chunk_bytes=chunk_bytes)
            try:
                try:
                    first = next(chunks, b"")
                except MissingArtifact as error:
                    missing = error
                    continue
                whole = chain((first,), chunks)
                yield from decompress(whole, ref, chunk_bytes=chunk_bytes) if form == COMPRESSED else whole
                return
            finally:
                close_chunks(chunks)
        raise MissingArtifact(f"{ref.uri!r} is not there any more; run the task that wrote it again") from missing
