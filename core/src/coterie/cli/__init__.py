"""The command line, `coterie`. Needs the extra `cli`; this module itself imports nothing of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

__all__ = ["main"]

_BROUGHT = ("rich", "typer")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (by default, the one this process was started with) and return its exit code.

    0 succeeded, 3 partial, 1 failed, 130 cancelled, 2 misuse.
    """
    try:
        for name in _BROUGHT:
            import_module(name)
        from coterie.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _BROUGHT:
            raise
        sys.stderr.write(
            f"error: the command line needs {error.name!r}, which is not installed; run: pip install 'coterie[cli]'\n"
        )
        return 2
    return run(sys.argv[1:] if argv is None else argv)
