"""The manifest of a snapshot: which files there are, by content, wherever they came from.

Equal content gives equal bytes: paths are relative, nothing holds a time, a place or an owner.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coterie._json import JsonValue
from coterie.teams.code_review.errors import ForgedManifest
from coterie.teams.code_review.finding import Problem
from coterie.teams.code_review.parallel import for_each

if TYPE_CHECKING:
    from coterie.artifacts import ArtifactStore
    from coterie.ref import Ref

__all__ = ["Manifest", "SourceFile", "fresh_folder", "materialise", "read_files"]

SCHEMA = 1
# What POSIX file systems take, less the folder that files are written to.
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 3072
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """One file: its relative path with `/`, SHA-256 (hex), size in bytes and media type."""

    path: str
    sha256: str
    size_bytes: int
    media_type: str

    @classmethod
    def from_json(cls, document: object) -> SourceFile:
        """Read one entry of a manifest.

        Raises:
            ForgedManifest: a field is missing or impossible, or the path could leave its folder.
        """
        if not isinstance(document, dict):
            raise _forged(f"the entry {document!r} is no object")
        path, sha256 = document.get("path"), document.get("sha256")
        size, media_type = document.get("size_bytes"), document.get("media_type")
        if not isinstance(path, str) or not is_safe(path):
            raise _forged(f"the path {path!r} is not a plain relative path")
        if not isinstance(sha256, str) or not _DIGEST.fullmatch(sha256):
            raise _forged(f"{path!r} has the hash {sha256!r}")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not isinstance(media_type, str):
            raise _forged(f"{path!r} has the size {size!r} and media type {media_type!r}")
        return cls(path, sha256, size, media_type)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A snapshot: the source's identity, all stored files, which of them are judged, and what was left out.

    source: kind (`git` for a commit, `path` for a folder as it lies there), name, revision and modified.
    judged: paths of the Python modules that per-file agents look at.
    """

    source: Mapping[str, JsonValue]
    files: tuple[SourceFile, ...]
    judged: tuple[str, ...] = ()
    skipped: tuple[Problem, ...] = ()

    @property
    def python(self) -> tuple[SourceFile, ...]:
        """Python modules and stubs that tools can read, in order."""
        unfit = {problem.path for problem in self.skipped}
        return tuple(f for f in self.files if f.media_type == "text/x-python" and f.path not in unfit)

    def to_json(self) -> dict[str, JsonValue]:
        """The document that travels: sorted throughout."""
        judged = set(self.judged)
        return {
            "schema": SCHEMA,
            "source": dict(self.source),
            "files": [asdict(file) for file in sorted(self.files)],
            "python_files": [asdict(file) for file in sorted(self.files) if file.path in judged],
            "skipped": [asdict(problem) for problem in sorted(self.skipped)],
        }

    @classmethod
    def from_json(cls, document: object) -> Manifest:
        """Read a manifest that some other process wrote.

        Raises:
            ForgedManifest: of another schema, malformed, or with paths that collide or lead out of a folder.
        """
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise _forged(f"it is no object with schema {SCHEMA}")
        source = document.get("source")
        if not isinstance(source, dict):
            raise _forged("it names no source")
        files = tuple(SourceFile.from_json(entry) for entry in _entries(document, "files"))
        _check_collisions(files)
        judged = tuple(SourceFile.from_json(entry) for entry in _entries(document, "python_files"))
        if not set(judged) <= set(files):
            raise _forged("python_files lists what files does not")
        skipped = tuple(_skipped(entry) for entry in _entries(document, "skipped"))
        return cls(source, files, tuple(file.path for file in judged), skipped)


def is_safe(path: str) -> bool:
    """Whether a path can only lead to a file below its folder, and not into a repository's own data."""
    if not path or "\0" in path or "\\" in path:
        return False
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        return False
    # A commit may hold names that no file system takes: they must not cost the other files their review.
    if len(raw) > MAX_PATH_BYTES or any(len(part) > MAX_NAME_BYTES for part in raw.split(b"/")):
        return False
    return all(part not in ("", ".", "..") and part.lower() != ".git" for part in path.split("/"))


@contextmanager
def fresh_folder(purpose: str) -> Iterator[Path]:
    """An empty folder, without links in its path, that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"coterie-{purpose}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


async def materialise(files: Iterable[SourceFile], artifacts: ArtifactStore, folder: Path) -> None:
    """Write the files below `folder`, an existing folder that nobody else writes to, each verified.

    Raises:
        MissingArtifact, CorruptArtifact, Unavailable: as the store does.
        ForgedManifest: a file would lie where another file or its folder lies, or outside.
    """
    wanted = list(files)
    _check_collisions(wanted)
    for parent in sorted({(folder / file.path).parent for file in wanted}):
        parent.mkdir(parents=True, exist_ok=True)
    await for_each(wanted, lambda file: artifacts.copy_to(reference(file, artifacts), folder / file.path))


async def read_files(files: Iterable[SourceFile], artifacts: ArtifactStore) -> dict[str, bytes]:
    """The contents by path, in order, each verified."""
    wanted = list(files)
    contents: dict[str, bytes] = {}

    async def read(file: SourceFile) -> None:
        contents[file.path] = await artifacts.read_bytes(reference(file, artifacts))

    await for_each(wanted, read)
    return {file.path: contents[file.path] for file in wanted}


def reference(file: SourceFile, artifacts: ArtifactStore) -> Ref:
    """Where the store keeps a file: by its hash, so the manifest names no place."""
    return artifacts.reference(file.sha256, file.size_bytes, file.media_type)


def _check_collisions(files: Iterable[SourceFile]) -> None:
    paths: set[str] = set()
    for file in files:
        if file.path in paths or not is_safe(file.path):
            raise _forged(f"the path {file.path!r} occurs twice or leads outside")
        paths.add(file.path)
    for path in paths:
        parts = path.split("/")
        if any("/".join(parts[:end]) in paths for end in range(1, len(parts))):
            raise _forged(f"the path {path!r} has a file for a folder")


def _entries(document: Mapping[str, Any], name: str) -> list[Any]:
    entries = document.get(name, [])
    if not isinstance(entries, list):
        raise _forged(f"its {name} is {type(entries).__name__}, not a list")
    return entries


def _skipped(entry: object) -> Problem:
    if isinstance(entry, dict) and isinstance(entry.get("path"), str) and isinstance(entry.get("reason"), str):
        return Problem(entry["path"], entry["reason"])
    raise _forged(f"the skipped entry {entry!r} has no path and reason")


def _forged(what: str) -> ForgedManifest:
    return ForgedManifest(f"not the manifest of a snapshot: {what[:300]}; run the snapshot again")
