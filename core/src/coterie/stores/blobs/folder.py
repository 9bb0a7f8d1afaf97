"""Blobs in a folder of a POSIX file system.

Below the root no symbolic link is followed: each folder is opened within the one before, so that nobody can turn a
name into a way out, not even while it is used. An object becomes visible by a rename, after its bytes have reached the
disk; when a write returns, so has the rename.

Renewing an object (a rename onto it, a new age) and deleting it exclude each other by a lock on its folder. Where the
file system has no such locks (NFS refuses the exclusive one), a renewal in the microseconds between the last look and
the deletion is lost.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from coterie.errors import ForbiddenLocation
from coterie.ports import Blob
from coterie.stores.blobs.names import PARTIAL

__all__ = ["Folder"]

_COPY_BYTES = 2**20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
_TICK_NS = 10**9
_NO_LOCKS = frozenset({errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


class Folder:
    """Files below `path`, which may itself be a link, and is made when something is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # By device and number, when folders were last changed that have reached the disk since.
        self._safe: dict[tuple[int, int], int] = {}

    @property
    def root(self) -> str:
        """The root's URL, the path as it is written."""
        return f"file://{str(self._path).rstrip('/')}"

    def size_bytes(self, name: str) -> int | None:
        """The file's size, or None."""
        try:
            with self._folder_of(name) as (folder, last):
                return self._look(folder, last, name).st_size
        except FileNotFoundError:
            return None

    def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:  # noqa: ARG002 # files grow
        """Write a file beside the object's place, and move it there."""
        with self._folder_of(name, make=True) as (folder, last):
            partial = f"{last}.{uuid.uuid4().hex}{PARTIAL}"
            try:
                _write_through(
                    os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666, dir_fd=folder), source
                )
                with _locked(folder, fcntl.LOCK_SH):
                    os.replace(partial, last, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                # Also when cancelled: nobody else knows its name.
                with suppress(FileNotFoundError):
                    os.unlink(partial, dir_fd=folder)
                raise
            _sync_folder(folder)

    def chunks(self, name: str, *, chunk_bytes: int = _COPY_BYTES) -> Iterator[bytes]:
        """The file's bytes."""
        with self._folder_of(name) as (folder, last):
            self._look(folder, last, name)
            # Should it have become a pipe since, opening it does not wait for a writer.
            opened = os.open(last, os.O_RDONLY | os.O_NONBLOCK | _NO_LINK, dir_fd=folder)
        with open(opened, "rb", buffering=0) as source:  # noqa: PTH123 # a descriptor
            while chunk := source.read(chunk_bytes):
                yield chunk

    def refresh(self, name: str) -> bool:
        """Set the file's time to now."""
        try:
            with self._folder_of(name) as (folder, last):
                with _locked(folder, fcntl.LOCK_SH):
                    os.utime(last, dir_fd=folder, follow_symlinks=False)
                self._make_safe(folder)
        except FileNotFoundError:
            return False
        return True

    def entries(self, folder: str) -> Iterator[Blob]:
        """Files below a folder; links and hidden files are none."""
        try:
            # The folder that holds anything in it: itself.
            with self._folder_of(f"{folder}/any") as (opened, _):
                yield from self._below(opened, folder)
        except FileNotFoundError:
            return

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        """Delete files that are as they were listed."""
        return [blob for blob in blobs if self._delete(blob)]

    def clock_s(self) -> float:
        """What the file system (a server, if it is a remote one) stamps a new file with."""
        if not self._path.is_dir():
            return time.time()
        with tempfile.TemporaryFile(dir=self._path, prefix=".clock-") as file:
            return os.fstat(file.fileno()).st_mtime_ns / 1e9

    def _make_safe(self, folder: int) -> None:
        """Have all that the folder lists on the disk: whoever wrote it may not have come so far yet."""
        found = os.fstat(folder)
        key, changed_ns = (found.st_dev, found.st_ino), found.st_mtime_ns
        if self._safe.get(key) == changed_ns:
            return
        _sync_folder(folder)
        # The file system's clock ticks slowly: within a tick, another change would not show.
        if time.time_ns() - changed_ns > _TICK_NS:
            self._safe[key] = changed_ns

    def _below(self, folder: int, name: str) -> Iterator[Blob]:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.startswith("."):
                    continue
                # Gone since it was listed: as if it had never been there.
                with suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        inner = _open_folder(entry.name, folder)
                        try:
                            yield from self._below(inner, f"{name}/{entry.name}")
                        finally:
                            os.close(inner)
                    elif entry.is_file(follow_symlinks=False):
                        yield _listed(f"{name}/{entry.name}", entry.stat(follow_symlinks=False))

    def _delete(self, blob: Blob) -> bool:
        with suppress(FileNotFoundError), self._folder_of(blob.name) as (folder, last):
            file = last if blob.upload is None else f"{last}.{blob.upload}{PARTIAL}"
            with _locked(folder, fcntl.LOCK_EX):
                if os.stat(file, dir_fd=folder, follow_symlinks=False).st_mtime_ns / 1e9 != blob.modified_s:
                    return False
                os.unlink(file, dir_fd=folder)
        return True

    def _look(self, folder: int, last: str, name: str) -> os.stat_result:
        found = os.stat(last, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            raise _link(self.root, name)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a file", name)
        return found

    @contextmanager
    def _folder_of(self, name: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder that holds the object, and the object's name in it."""
        *folders, last = name.split("/")
        if make:
            _make_root(self._path)
        opened = os.open(self._path, _FOLDER)
        try:
            for folder in folders:
                inner = self._enter(opened, folder, name, make=make)
                os.close(opened)
                opened = inner
            yield opened, last
        finally:
            os.close(opened)

    def _enter(self, outer: int, folder: str, name: str, *, make: bool) -> int:
        try:
            return _open_folder(folder, outer)
        except FileNotFoundError:
            if not make:
                raise
        except OSError:
            if stat.S_ISLNK(os.stat(folder, dir_fd=outer, follow_symlinks=False).st_mode):
                raise _link(self.root, name) from None
            raise
        with suppress(FileExistsError):
            os.mkdir(folder, dir_fd=outer)
        _sync_folder(outer)
        return _open_folder(folder, outer)


def _open_folder(folder: str, outer: int) -> int:
    return os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=outer)


def _make_root(path: Path) -> None:
    if path.is_dir():
        return
    _make_root(path.parent)
    with suppress(FileExistsError):
        path.mkdir()
    outer = os.open(path.parent, _FOLDER)
    try:
        _sync_folder(outer)
    finally:
        os.close(outer)


def _write_through(opened: int, source: BinaryIO) -> None:
    with open(opened, "wb") as sink:
        shutil.copyfileobj(source, sink, _COPY_BYTES)
        sink.flush()
        os.fsync(sink.fileno())


def _sync_folder(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        # Some network file systems do not know it for folders: their servers keep what they acknowledged.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


@contextmanager
def _locked(folder: int, kind: int) -> Iterator[None]:
    try:
        fcntl.flock(folder, kind)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        yield
        return
    try:
        yield
    finally:
        fcntl.flock(folder, fcntl.LOCK_UN)


def _listed(name: str, found: os.stat_result) -> Blob:
    modified_s = found.st_mtime_ns / 1e9
    if not name.endswith(PARTIAL):
        return Blob(name, found.st_size, modified_s)
    target, _, upload = name.removesuffix(PARTIAL).rpartition(".")
    # Without its number it is not ours: listed as it is, which is no name that anybody could delete.
    return (
        Blob(target, found.st_size, modified_s, upload) if upload.isalnum() else Blob(name, found.st_size, modified_s)
    )


def _link(root: str, name: str) -> ForbiddenLocation:
    return ForbiddenLocation(
        f"{name!r} leads over a symbolic link below {root!r}; nothing there may be one: mount the other folder there, "
        "or make it the root"
    )
