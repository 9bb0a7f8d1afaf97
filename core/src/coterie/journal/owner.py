"""Who holds a claim: names of processes that nobody else has, and whether such a process is known to have ended."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

__all__ = ["is_known_dead", "new_owner", "told"]

_PARTS = 6
# In /proc/PID/stat, behind the name in parentheses: the state, and when the process began, in clock ticks since boot.
_STATE, _STARTED = 0, 19


def new_owner() -> str:
    """A name for work that this process begins: host, boot, process space, process, its beginning, chance."""
    pid = os.getpid()
    return ":".join([_host(), _boot(), _space(), str(pid), _began(pid) or "-", os.urandom(6).hex()])


def told(owner: str) -> str:
    """What people are shown: host and process."""
    parts = owner.split(":")
    return f"process {parts[3]} on {parts[0]}" if len(parts) == _PARTS else owner


def is_known_dead(owner: str) -> bool:
    """Whether the owner was a process of this machine that has ended. Of others, nothing is known."""
    parts = owner.split(":")
    if len(parts) != _PARTS or not parts[3].isdecimal() or parts[4] == "-":
        return False
    host, boot, space, pid, began, _ = parts
    if (host, boot, space) != (_host(), _boot(), _space()) or "-" in (boot, space):
        return False
    found = _began(int(pid))
    return found != began if found is not None else not _exists(int(pid))


@cache
def _host() -> str:
    return socket.gethostname().replace(":", "_")[:60]


@cache
def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id").strip()[:13] or "-"


def _space() -> str:
    # Containers of one machine share its boot and perhaps its name, not their processes' numbers.
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "-"


def _began(pid: int) -> str | None:
    """When a process began; empty if it has ended and nobody has taken notice yet. None: nothing is shown of it."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) <= _STARTED:
        return None
    return fields[_STARTED] if fields[_STATE] not in ("Z", "X") else ""


def _exists(pid: int) -> bool:
    # Machines can be set up to show everybody his own processes alone.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _read(path: str) -> str:
    try:
        return Path(path).read_text("ascii", errors="replace")
    except OSError:
        return ""
