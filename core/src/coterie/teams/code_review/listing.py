"""List what a source holds: a plain folder, a git work tree as it lies there, or one commit.

A listing reads no contents. It names every file with a way to read it, and every path that cannot be
reviewed with the reason; links are never followed.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from coterie._json import JsonValue
from coterie.teams.code_review.conventions import is_junk, is_python
from coterie.teams.code_review.errors import MissingSource, SourceTooLarge
from coterie.teams.code_review.finding import Problem
from coterie.teams.code_review.git import Git, TreeEntry
from coterie.teams.code_review.manifest import is_safe

__all__ = ["Found", "Limits", "Listing", "list_commit", "list_folder", "list_work_tree", "require_readable"]

_LINK, _SUBMODULE = "120000", "160000"
LINK_INSIDE = "a symbolic link; its target is reviewed where it lies"
LINK_OUTSIDE = "a symbolic link that points outside the source"
LINK_BEHIND = "its folder is a symbolic link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a snapshot takes on.

    files: entries of the source, above which it is refused.
    file_bytes: a larger file is not stored.
    judged_bytes: a larger Python module is stored, but no agent looks at it.
    total_bytes: of all stored files; modules first, and they alone above it are refused.
    """

    files: int = 50_000
    file_bytes: int = 16 * 2**20
    judged_bytes: int = 2**20
    total_bytes: int = 2**30


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file. `read` gives its bytes; it raises OSError if the file has gone since."""

    path: str
    size_bytes: int
    read: Callable[[], bytes]


@dataclass(slots=True)
class Listing:
    """What a source holds. `committed`: for a work tree, the commit's object id of each path."""

    source: dict[str, JsonValue]
    found: list[Found] = field(default_factory=list)
    skipped: list[Problem] = field(default_factory=list)
    committed: Mapping[str, str] | None = None

    def skip(self, path: str, reason: str) -> None:
        """Note a path that is not reviewed."""
        self.skipped.append(Problem(path, reason))


def require_readable(folder: Path, name: str) -> None:
    """Refuse a folder that this user may not list and enter: no program could start in it.

    Raises:
        MissingSource: names it.
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        raise MissingSource(f"the folder {name!r} cannot be read (Permission denied); give this user the right to")


def list_folder(root: Path, name: str, limits: Limits) -> Listing:
    """All files below a folder, without what tools leave there (caches, environments, version control).

    A folder within that may not be entered is skipped, with the reason.

    Raises:
        MissingSource: the folder itself went away, or was closed, meanwhile.
        SourceTooLarge: more entries than `limits.files`.
    """
    listing = Listing({"kind": "path", "name": name, "revision": None, "modified": False})

    def refuse(error: OSError) -> None:
        folder = Path(error.filename)
        if folder == root:
            raise MissingSource(f"the folder {name!r} can no longer be read ({error.strerror}); start again") from error
        listing.skip(_text(os.fsencode(folder.relative_to(root))), _closed(error.strerror))

    for number, path in enumerate(_walk(root, refuse), 1):
        _check_count(number, name, limits)
        _add_local(listing, root, os.fsencode(path))
    return _afford(listing, limits)


async def list_work_tree(git: Git, name: str, limits: Limits) -> Listing:
    """Tracked files as they lie there, and untracked ones that are not ignored.

    Raises:
        SourceTooLarge: more entries than `limits.files`.
    """
    commit = await git.commit_of("HEAD")
    listing = Listing({"kind": "path", "name": name, "revision": commit, "modified": False})
    tracked, untracked = await git.tracked(), await git.untracked()
    _check_count(len(tracked) + len(untracked.paths), name, limits)
    for entry in tracked:
        if entry.mode == _SUBMODULE:
            listing.skip(_text(entry.path), "a submodule; review it as a source of its own")
        else:
            _add_local(listing, git.folder, entry.path)
    for path in untracked.paths:
        if path.endswith(b"/"):
            listing.skip(_text(path[:-1]), "a git repository within; review it as a source of its own")
        elif not any(is_junk(part) for part in _text(path).split("/")):
            _add_local(listing, git.folder, path)
    for path, reason in untracked.closed.items():
        listing.skip(_text(path), _closed(reason))
    if commit is not None:
        listing.committed = {_text(entry.path): entry.object_id for entry in await git.tree(commit)}
    return _afford(listing, limits)


async def list_commit(git: Git, commit: str, name: str, limits: Limits, blobs: Path) -> Listing:
    """The files of a commit; their contents are copied to the new file `blobs`, which readers read.

    Raises:
        SourceTooLarge: more entries than `limits.files`.
    """
    listing = Listing({"kind": "git", "name": name, "revision": commit, "modified": False})
    entries = await git.tree(commit)
    _check_count(len(entries), name, limits)
    objects = {_text(entry.path): entry for entry in entries}
    for path, entry in objects.items():
        _add_committed(listing, path, entry, blobs)
    _afford(listing, limits)
    links = [path for path, entry in objects.items() if entry.mode == _LINK and (entry.size_bytes or 0) <= 4096]
    paths = [*(found.path for found in listing.found), *links]
    await git.copy_blobs([objects[path].object_id for path in paths], blobs)
    slices = dict(zip(paths, _blob_slices(blobs), strict=True))
    listing.found = [replace(found, read=_slice_reader(blobs, slices[found.path])) for found in listing.found]
    for path in links:
        listing.skip(path, _link_reason(path, _text(_slice_reader(blobs, slices[path])())))
    return listing


def _add_committed(listing: Listing, path: str, entry: TreeEntry, blobs: Path) -> None:
    size = entry.size_bytes or 0
    if entry.mode == _SUBMODULE:
        listing.skip(path, "a submodule; review it as a source of its own")
    elif entry.mode == _LINK and size > 4096:
        listing.skip(path, LINK_OUTSIDE)
    elif entry.mode != _LINK and (reason := _unfit_name(entry.path)):
        listing.skip(path, reason)
    elif entry.mode != _LINK:
        listing.found.append(Found(path, size, blobs.read_bytes))


def _afford(listing: Listing, limits: Limits) -> Listing:
    """Keep what the limits on bytes allow: modules first, then the rest, each by path."""
    kept, total = [], 0
    for found in sorted(listing.found, key=lambda found: (not is_python(found.path), found.path)):
        if found.size_bytes > limits.file_bytes:
            listing.skip(found.path, too_large(found.size_bytes, limits.file_bytes))
        elif total + found.size_bytes <= limits.total_bytes:
            kept.append(found)
            total += found.size_bytes
        elif is_python(found.path):
            raise SourceTooLarge(
                f"the Python files of {listing.source['name']!r} hold more than {limits.total_bytes} bytes; "
                "review a part of it, or raise the limit 'total_bytes'"
            )
        else:
            listing.skip(found.path, "beyond the limit for all files together")
    listing.found = kept
    return listing


def too_large(size_bytes: int, limit_bytes: int) -> str:
    """The reason for leaving out a file of that size."""
    return f"{size_bytes} bytes, above the limit of {limit_bytes}"


def _walk(root: Path, refuse: Callable[[OSError], None]) -> Iterator[str]:
    """Relative paths of everything that is no folder, and of links to folders; `refuse` hears of closed folders."""
    for here, folders, files in os.walk(root, onerror=refuse):
        folder = Path(here)
        # Here and below not Path's own, which raise where a folder may not be entered.
        links = {name for name in folders if os.path.islink(folder / name)}  # noqa: PTH114
        folders[:] = sorted(name for name in folders if name not in links and not _is_junk_folder(folder / name))
        for name in sorted([*files, *links]):
            if not is_junk(name):
                yield str((folder / name).relative_to(root))


def _closed(reason: str | None) -> str:
    return f"a folder that cannot be read ({reason})"


def _is_junk_folder(folder: Path) -> bool:
    return is_junk(folder.name) or os.path.isfile(folder / "pyvenv.cfg")  # noqa: PTH113


def _add_local(listing: Listing, root: Path, raw: bytes) -> None:
    path = _text(raw)
    if reason := _unfit_name(raw):
        listing.skip(path, reason)
        return
    # By its bytes: the machine's encoding need not be the one that names are shown in.
    full = root / os.fsdecode(raw)
    if full.parent.resolve() != full.parent:
        # Tracked in a folder that has become a link since: whatever lies behind it is not the source's.
        listing.skip(path, LINK_BEHIND)
        return
    try:
        status = full.lstat()
    except (FileNotFoundError, NotADirectoryError):
        # Tracked, but deleted in the work tree: it is not there to review.
        return
    except OSError as error:
        listing.skip(path, f"cannot be read ({error.strerror})")
        return
    if stat.S_ISLNK(status.st_mode):
        listing.skip(path, _link_reason(path, str(full.readlink())))
    elif not stat.S_ISREG(status.st_mode):
        listing.skip(path, "a special file, not a regular one")
    else:
        listing.found.append(Found(path, status.st_size, lambda: _read_regular(full, status.st_size)))


def _read_regular(path: Path, size_bytes: int) -> bytes:
    # Not through a link and not waiting for a pipe, should the file have been exchanged since it was listed.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(size_bytes + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    if len(data) != size_bytes:
        raise OSError(0, "it changed while it was read")
    return data


def _blob_slices(blobs: Path) -> Iterator[tuple[int, int]]:
    """Where each object lies in the output of `git cat-file --batch`: offset and size in bytes."""
    with blobs.open("rb") as file:
        while header := file.readline():
            size = int(header.split()[2])
            offset = file.tell()
            yield offset, size
            file.seek(offset + size + 1)


def _slice_reader(blobs: Path, place: tuple[int, int]) -> Callable[[], bytes]:
    def read() -> bytes:
        with blobs.open("rb") as file:
            file.seek(place[0])
            return file.read(place[1])

    return read


def _link_reason(path: str, target: str) -> str:
    if posixpath.isabs(target):
        return LINK_OUTSIDE
    end = posixpath.normpath(posixpath.join(str(PurePosixPath(path).parent), target))
    return LINK_OUTSIDE if end == ".." or end.startswith("../") else LINK_INSIDE


def _unfit_name(raw: bytes) -> str | None:
    try:
        path = raw.decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8"
    return None if is_safe(path) else "its name is not portable"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _check_count(count: int, name: str, limits: Limits) -> None:
    if count > limits.files:
        raise SourceTooLarge(
            f"the source {name!r} has more than {limits.files} files; review a part of it, or raise the limit 'files'"
        )
