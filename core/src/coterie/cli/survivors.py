"""End every process that this one started, at once: for the second Ctrl-C, when nobody waits any more."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable

__all__ = ["descendants", "kill_children"]


def kill_children() -> None:
    """SIGKILL to the process groups of all descendants; what cannot be found or killed is left alone."""
    try:
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,pgid="],  # noqa: S607  # wherever this system keeps it
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return
    table = [tuple(map(int, line.split())) for line in listed.splitlines()]
    own = os.getpgrp()
    for pid, group in descendants(os.getpid(), [(row[0], row[1], row[2]) for row in table]):
        try:
            # A child that stayed in this process's group is ended alone: the group holds the user's shell too.
            if group == own:
                os.kill(pid, signal.SIGKILL)
            else:
                os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def descendants(root: int, table: Iterable[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """(pid, group) of every process below `root`. table: (pid, parent, group) of all processes."""
    children: dict[int, list[tuple[int, int]]] = {}
    for pid, parent, group in table:
        children.setdefault(parent, []).append((pid, group))
    found, pending = [], [root]
    while pending:
        below = children.pop(pending.pop(), [])
        found += below
        pending += [pid for pid, _ in below]
    return found
