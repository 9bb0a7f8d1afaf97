"""Content that is read when it is asked for, and then remembered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from coterie._json import JsonValue
from coterie.artifacts.memory_cache import cache_of_process
from coterie.artifacts.values import text_of, validated
from coterie.ref import Ref, parsed

if TYPE_CHECKING:
    from coterie.artifacts.reader import ArtifactReader
    from coterie.artifacts.store import ArtifactStore

__all__ = ["Artifact"]

T = TypeVar("T")


class Artifact:
    """A reference with its store: costs nothing until it is read. Made by `ArtifactStore.artifact(ref)`.

    What was read once, up to 4 MiB of content, is kept in this process's memory (64 MiB for all, the least recently
    used goes first) and not fetched again by any handle of the same place. It was verified when it was fetched.

    Raises, from each reading:
        MissingArtifact, CorruptArtifact, ForbiddenLocation, Unavailable.
    """

    __slots__ = ("_store", "ref")

    def __init__(self, ref: Ref, store: ArtifactStore) -> None:
        self.ref = ref
        self._store = store

    def __repr__(self) -> str:
        return f"Artifact({self.ref.sha256[:12]}…, {self.size_bytes} bytes, {self.media_type!r}, {self._store!r})"

    @property
    def sha256(self) -> str:
        """What the content is called."""
        return self.ref.sha256

    @property
    def size_bytes(self) -> int:
        """How much content there is."""
        return self.ref.size_bytes

    @property
    def media_type(self) -> str:
        """What kind of content it is."""
        return self.ref.media_type

    async def read_bytes(self) -> bytes:
        """The content."""
        cache = cache_of_process()
        if self.ref.is_inline or not cache.takes(self.size_bytes):
            return await self._store.read_bytes(self.ref)
        # The key names the store: what one may read is no business of another's.
        key = self._store.cache_key(self.ref)
        content = cache.get(key)
        if content is None or len(content) != self.size_bytes:
            content = await self._store.read_bytes(self.ref)
            cache.put(key, content)
        return content

    async def load_text(self) -> str:
        """The content as UTF-8 text."""
        return text_of(self.ref, await self.read_bytes())

    @overload
    async def load(self) -> JsonValue: ...
    @overload
    async def load(self, type_: type[T]) -> T: ...
    @overload
    async def load(self, type_: Any) -> Any: ...
    async def load(self, type_: Any = None) -> Any:
        """The JSON value, a new one each time; with `type_`, validated to it by pydantic."""
        content = await self.read_bytes()
        return parsed(self.ref, content) if type_ is None else validated(self.ref, content, type_)

    def open(self) -> ArtifactReader:
        """See `ArtifactStore.open`; nothing is kept."""
        return self._store.open(self.ref)

    def stream(self) -> AsyncIterator[bytes]:
        """See `ArtifactStore.stream`; nothing is kept."""
        return self._store.stream(self.ref)

    async def path(self) -> Path:
        """See `ArtifactStore.path`."""
        return await self._store.path(self.ref)
