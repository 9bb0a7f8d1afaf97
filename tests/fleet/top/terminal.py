"""A pseudo-terminal with a program in it, and somebody before it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Terminal"]

_WITHIN_S = 40.0
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_HOME = b"\x1b[H"
SHOWN, GONE = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """Starts the program; `close` ends it, whatever it does."""

    def __init__(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], size: tuple[int, int]) -> None:
        self._here, there = pty.openpty()
        self.before = termios.tcgetattr(there)
        self.resize(*size, tell=False)
        self.process = subprocess.Popen(
            argv, stdin=there, stdout=there, stderr=there, cwd=cwd, env=env, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # else Ctrl-C is a letter
        )  # fmt: skip
        # Kept, so that what is left of the settings can be looked at when the program is gone.
        self._there = there
        self.output = b""

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._here)
        os.close(self._there)

    @property
    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self._there)

    @property
    def frame(self) -> str:
        """The last frame, as it is seen."""
        text = self.output.rpartition(_HOME)[2].decode("utf-8", "replace")
        return "\n".join(line.rstrip() for line in _CONTROLS.sub("", text).replace("\r", "").splitlines())

    def press(self, keys: str) -> None:
        os.write(self._here, keys.encode())

    def resize(self, columns: int, lines: int, *, tell: bool = True) -> None:
        self.lines = lines
        fcntl.ioctl(self._here, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if tell:
            os.kill(self.process.pid, signal.SIGWINCH)

    def until(self, holds: Callable[[str], object], what: str) -> str:
        """The first whole frame of which that holds."""
        deadline = time.monotonic() + _WITHIN_S
        while len(self.frame.splitlines()) != self.lines or not holds(self.frame):
            assert time.monotonic() < deadline, f"not within {_WITHIN_S:g} s: {what}; the last frame:\n{self.frame}"
            self._hear()
        return self.frame

    def ended(self) -> int:
        """Wait for its end, and hear the rest."""
        deadline = time.monotonic() + _WITHIN_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; the last frame:\n{self.frame}"
            self._hear()
        while self._hear():
            pass
        return self.process.wait()

    def stopped(self) -> int:
        """Wait until it is stopped, or ends, and hear what it says till then; its status."""
        deadline = time.monotonic() + _WITHIN_S
        while not (found := os.waitpid(self.process.pid, os.WUNTRACED | os.WNOHANG))[0]:
            assert time.monotonic() < deadline, f"it is not stopped; the last frame:\n{self.frame}"
            self._hear()
        while self._hear():
            pass
        return found[1]

    def _hear(self) -> bool:
        ready, _, _ = select.select([self._here], [], [], 0.05)
        if ready:
            self.output += os.read(self._here, 65_536)
        return bool(ready)
