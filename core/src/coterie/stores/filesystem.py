"""Where a local database may lie: not on a network file system, whose locks do not hold across machines."""

from __future__ import annotations

import re
from pathlib import Path

from coterie.errors import Misuse

__all__ = ["filesystem_type", "refuse_network"]

# SQLite's write-ahead log needs memory that all its processes share, and locks that work.
_NETWORK = frozenset({
    "afs", "beegfs", "ceph", "cifs", "coda", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone",
    "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs",
})  # fmt: skip
_ESCAPED = re.compile(r"\\([0-7]{3})")
_MOUNTS = Path("/proc/self/mountinfo")


def refuse_network(path: Path, mounts: str | None = None) -> None:
    """Return if `path` lies, or would lie, on a file system of this machine, as far as that can be told.

    mounts: the system's list of mounts, as in Linux' `/proc/self/mountinfo`, which is read by default.

    Raises:
        Misuse: it lies on one that is reached by a network.
    """
    kind = filesystem_type(path, _read_mounts() if mounts is None else mounts)
    if kind in _NETWORK:
        raise Misuse(
            f"{str(path)!r} lies on a network file system ({kind}), where SQLite loses updates; "
            "put it on a local disk, or share state by 'redis://…'"
        )


def filesystem_type(path: Path, mounts: str) -> str | None:
    """The type of the file system that holds `path` (absolute, without links); None if the list does not say."""
    best, kind = -1, None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        mount = Path(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4]))
        # A later mount hides an earlier one in the same place.
        if len(mount.parts) >= best and (mount == path or mount in path.parents):
            best, kind = len(mount.parts), after.split()[0]
    return kind


def _read_mounts() -> str:
    try:
        return _MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
