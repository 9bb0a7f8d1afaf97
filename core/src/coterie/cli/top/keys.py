"""Keys of a terminal: what they are called, and a terminal that hands them over one by one."""

from __future__ import annotations

import os
import re
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Keyboard", "keys_in"]

_ESCAPES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end",
    b"\x1b[5~": "pageup",
    b"\x1b[6~": "pagedown",
    b"\x1b[Z": "backtab",
}
_NAMED = {b"\t": "tab", b"\r": "enter", b"\n": "enter", b"\x1b": "escape", b" ": "space", b"\x7f": "backspace"}
# A sequence that a terminal sends for a key, or one character.
_ONE = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO[@-~]|[\x00-\x7f]|[\x80-\xff]+")
_MOST = 4096


def keys_in(data: bytes) -> Iterator[str]:
    """The names of the keys that were pressed; what no key of ours sends is left out."""
    for found in _ONE.findall(data):
        if found in _ESCAPES:
            yield _ESCAPES[found]
        elif found in _NAMED:
            yield _NAMED[found]
        elif len(found) == 1 and found.isascii() and found.decode().isprintable():
            yield found.decode()


class Keyboard:
    """The keys of the terminal at a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, keys are neither shown nor kept back until the end of the line; afterwards all is as before."""
        before = termios.tcgetattr(self._descriptor)
        try:
            tty.setcbreak(self._descriptor, termios.TCSANOW)
            yield
        finally:
            termios.tcsetattr(self._descriptor, termios.TCSANOW, before)

    def read(self) -> list[str] | None:
        """The keys that were pressed since the last time; None: the terminal is gone."""
        try:
            data = os.read(self._descriptor, _MOST)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return list(keys_in(data)) if data else None
