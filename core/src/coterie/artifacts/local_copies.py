"""Content as files of this machine, for what only takes a path. Blocking."""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from coterie.artifacts.content import Contents
from coterie.artifacts.measured import COPY_BYTES
from coterie.errors import Misuse
from coterie.ref import Ref

__all__ = ["LocalCopies", "copy_to_file", "default_folder"]


class LocalCopies:
    """Files below `folder`, one for each content of one store and namespace.

    A file that was there before is hashed when this process first asks for it, and replaced if it is not right.
    """

    def __init__(self, folder: Path, contents: Contents) -> None:
        place = f"{contents.layout.root}\n{contents.layout.namespace}"
        # What one store may read is no business of another's.
        self._folder = folder / hashlib.sha256(place.encode()).hexdigest()[:16]
        self._contents = contents
        self._trusted: dict[str, tuple[int, int]] = {}
        self._locks: dict[str, threading.Lock] = {}

    def path_of(self, ref: Ref) -> Path:
        """The file, copied now unless it was before."""
        if not ref.is_inline:
            self._contents.layout.check(ref)
        path = self._folder / ref.sha256[:2] / ref.sha256
        if self._is_trusted(ref, path):
            return path
        # Who waits for a copy that is being made finds it made.
        with self._locks.setdefault(ref.sha256, threading.Lock()):
            if not self._is_trusted(ref, path) and not self._is_right(ref, path):
                self._copy(ref, path)
            self._trusted[ref.sha256] = _stamp(path)
        return path

    def _is_trusted(self, ref: Ref, path: Path) -> bool:
        try:
            return self._trusted.get(ref.sha256) == _stamp(path) and path.stat().st_size == ref.size_bytes
        except FileNotFoundError:
            return False

    def _is_right(self, ref: Ref, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == ref.sha256
        except FileNotFoundError:
            return False

    def _copy(self, ref: Ref, path: Path) -> None:
        # Others of this machine have no business with it.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        copy_to_file(self._contents.chunks(ref, chunk_bytes=COPY_BYTES), partial)
        try:
            # Whoever opens it by its path shall not change it for all others.
            partial.chmod(0o400)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def copy_to_file(chunks: Iterable[bytes], path: Path) -> None:
    """Write all chunks to a file; on any error there is no file."""
    try:
        with path.open("wb") as sink:
            for chunk in chunks:
                sink.write(chunk)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def default_folder() -> Path:
    """`content` in `COTERIE_HOME`, else in `coterie` of the user's cache (`XDG_CACHE_HOME`, `~/.cache`).

    Raises:
        Misuse: the user has no home.
    """
    home, cache = os.environ.get("COTERIE_HOME"), os.environ.get("XDG_CACHE_HOME", "")
    with suppress(RuntimeError):
        if home:
            return Path(home).expanduser().absolute() / "content"
        # By its specification, a relative path is to be ignored.
        return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "coterie" / "content"
    raise Misuse("this user has no home to keep local copies in; give the store a folder: ArtifactStore(…, copies=…)")


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns
