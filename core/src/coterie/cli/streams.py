"""Standard output belongs to the result: whatever agents print, and their programs, goes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

__all__ = ["reserved_stdout"]


@contextmanager
def reserved_stdout() -> Iterator[None]:
    """Within, both `sys.stdout` and its file descriptor lead to standard error."""
    sys.stdout.flush()
    try:
        out, err = sys.stdout.fileno(), sys.stderr.fileno()
    except (OSError, ValueError):
        # Streams without a file, as under a test runner: there is no descriptor to mistake for them.
        with redirect_stdout(sys.stderr):
            yield
        return
    saved = os.dup(out)
    os.dup2(err, out)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, out)
        os.close(saved)
