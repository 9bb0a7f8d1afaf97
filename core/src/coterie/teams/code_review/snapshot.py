"""The first agent of a review: take the source once, so that every other agent sees the same bytes anywhere."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from coterie._json import JsonValue
from coterie.errors import Misuse
from coterie.teams.code_review.conventions import is_python, media_type
from coterie.teams.code_review.errors import EmptySource, UnknownRevision
from coterie.teams.code_review.finding import Problem
from coterie.teams.code_review.git import Git, fetch_commit
from coterie.teams.code_review.listing import (
    Found,
    Limits,
    Listing,
    list_commit,
    list_folder,
    list_work_tree,
    require_readable,
    too_large,
)
from coterie.teams.code_review.location import Folder, Remote, check_revision, read_source
from coterie.teams.code_review.manifest import Manifest, SourceFile, fresh_folder
from coterie.teams.code_review.parallel import for_each, in_thread
from coterie.teams.code_review.source import require_store
from coterie.teams.code_review.syntax import Unreadable, decoded

if TYPE_CHECKING:
    from coterie.artifacts import ArtifactStore
    from coterie.context import TaskContext

__all__ = ["snapshot", "take_snapshot"]

_PARALLEL_WRITES = 8


async def snapshot(task_input: dict[str, JsonValue], ctx: TaskContext) -> dict[str, JsonValue]:
    """Store every file of `source` at `revision` and return the manifest.

    Input: source (a folder or git URL), revision (branch, tag, commit; null for the folder as it lies there or
    the remote's default branch), limits (an object with fields of `Limits`).

    Raises:
        SourceError: the source cannot be reviewed as it was named.
    """
    source, revision = task_input.get("source"), task_input.get("revision")
    if not isinstance(source, str) or not (revision is None or isinstance(revision, str)):
        raise Misuse(f"a snapshot takes source and revision as strings, got {type(source).__name__} and {revision!r}")
    limits = _limits(task_input.get("limits"))
    return (await take_snapshot(source, revision, require_store(ctx), limits=limits)).to_json()


async def take_snapshot(
    source: str, revision: str | None, artifacts: ArtifactStore, *, limits: Limits | None = None
) -> Manifest:
    """Store every file of the source and return the manifest; equal content gives an equal manifest.

    Raises:
        SourceError: MissingSource, UnsupportedURL, CredentialsInURL, UnreachableSource, UnknownRevision,
            EmptySource or SourceTooLarge.
    """
    limits = limits or Limits()
    place = read_source(source)
    async with _listing(place, check_revision(revision, place.name), limits) as listing:
        intake = await _Intake(artifacts, limits).take(listing)
    if not intake.files and not intake.skipped:
        raise EmptySource(f"the source {place.name!r} holds no files; name a folder or revision that has some")
    return Manifest(
        listing.source | {"modified": intake.differs(listing)},
        tuple(sorted(intake.files)),
        tuple(sorted(intake.judged)),
        tuple(sorted(intake.skipped)),
    )


@asynccontextmanager
async def _listing(place: Folder | Remote, revision: str | None, limits: Limits) -> AsyncIterator[Listing]:
    """The listing, for as long as its files can be read."""
    with fresh_folder("source") as scratch:
        blobs = scratch / "blobs"
        if isinstance(place, Remote):
            git = Git(scratch / "repository")
            git.folder.mkdir()
            await git.init_bare()
            commit = await fetch_commit(git, place, revision)
            yield await list_commit(git, commit, place.name, limits, blobs)
            return
        git = Git(place.path.resolve())
        require_readable(git.folder, place.name)
        if revision is not None or (shutil.which("git") and await git.is_bare()):
            commit = await _local_commit(git, revision, place.name)
            yield await list_commit(git, commit, place.name, limits, blobs)
        else:
            yield await _as_it_lies(git, place.name, limits)


async def _local_commit(git: Git, revision: str | None, name: str) -> str:
    commit = await git.commit_of(revision or "HEAD")
    if commit is not None:
        return commit
    if not (await git.is_work_tree() or await git.is_bare()):
        raise UnknownRevision(f"{name!r} is no git repository, so it has no {revision!r}; leave the revision out")
    if revision is None or await git.commit_of("HEAD") is None:
        raise EmptySource(
            f"the source {name!r} has no commits; commit something, or review the folder without a revision"
        )
    raise UnknownRevision(
        f"the repository {name!r} has no revision {revision!r}; give one of its branches, tags or commits"
    )


async def _as_it_lies(git: Git, name: str, limits: Limits) -> Listing:
    if shutil.which("git") and await git.is_work_tree():
        listing = await list_work_tree(git, name, limits)
        # Nothing at all: the folder is one that the repository around it ignores.
        if listing.found or listing.skipped:
            return listing
    return await in_thread(list_folder, git.folder, name, limits)


@dataclass(slots=True)
class _Intake:
    """Reads the files of a listing, stores them, and notes what each is good for."""

    artifacts: ArtifactStore
    limits: Limits
    files: list[SourceFile] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    skipped: list[Problem] = field(default_factory=list)
    object_ids: dict[str, str] = field(default_factory=dict)

    async def take(self, listing: Listing) -> _Intake:
        self.skipped = list(listing.skipped)
        digest = _object_digest(listing)
        await for_each(listing.found, lambda found: self._store(found, digest), parallel=_PARALLEL_WRITES)
        return self

    def differs(self, listing: Listing) -> bool:
        """Whether the files are others than those of the commit; what was skipped is not compared."""
        if listing.committed is None:
            return False
        unseen = {problem.path for problem in self.skipped} - self.object_ids.keys()
        committed = {path: oid for path, oid in listing.committed.items() if path not in unseen}
        return committed != self.object_ids

    async def _store(self, found: Found, object_id: Callable[[bytes], str] | None) -> None:
        try:
            data = await in_thread(found.read)
        except OSError as error:
            self.skipped.append(Problem(found.path, f"cannot be read ({error.strerror})"))
            return
        if object_id is not None:
            self.object_ids[found.path] = object_id(data)
        kind = media_type(found.path, data)
        ref = await self.artifacts.put_bytes(data, kind)
        self.files.append(SourceFile(found.path, ref.sha256, ref.size_bytes, kind))
        if is_python(found.path):
            self._note_module(found.path, data)

    def _note_module(self, path: str, data: bytes) -> None:
        if len(data) > self.limits.judged_bytes:
            self.skipped.append(Problem(path, too_large(len(data), self.limits.judged_bytes)))
            return
        try:
            decoded(data)
        except Unreadable as reason:
            self.skipped.append(Problem(path, str(reason)))
            return
        if not path.endswith(".pyi"):
            self.judged.append(path)


def _object_digest(listing: Listing) -> Callable[[bytes], str] | None:
    """How the repository names contents, to compare a work tree with its commit without running its filters."""
    if listing.committed is None:
        return None
    algorithm = "sha256" if any(len(oid) == 64 for oid in listing.committed.values()) else "sha1"

    def digest(data: bytes) -> str:
        return hashlib.new(algorithm, b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()

    return digest


def _limits(document: JsonValue) -> Limits:
    if document is None:
        return Limits()
    known = {entry.name for entry in fields(Limits)}
    if not isinstance(document, dict) or not document.keys() <= known:
        raise Misuse(f"limits are {document!r}; give an object with {', '.join(sorted(known))}")
    values: dict[str, Any] = document
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Misuse(f"the limit {name!r} is {value!r}; give a whole number above 0")
    return Limits(**values)
