"""Standard output belongs to the result: whatever agents print, and their programs, goes to standard error.

What the terminal's encoding cannot say is replaced, in JSON escaped; it never ends a command.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

__all__ = ["allow_any_text", "reserved_stdout", "write_json", "write_json_line"]


def allow_any_text() -> None:
    """From here on, standard output takes any text: `?` stands for what its encoding cannot say."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def write_json(document: Mapping[str, Any]) -> None:
    """One JSON document to standard output, whole in any encoding."""
    _write(document, indent=2)


def write_json_line(document: Mapping[str, Any]) -> None:
    """One JSON document in one line, at once."""
    _write(document, indent=None)
    sys.stdout.flush()


def _write(document: Mapping[str, Any], *, indent: int | None) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=indent)
    sys.stdout.write(text + "\n")


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
