"""How a command fails: one line on standard error, an exit code, and a traceback only for those who ask."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec

import typer

from coterie.errors import CoterieError, Misuse

__all__ = ["DEBUG", "told"]

P = ParamSpec("P")

DEBUG: ContextVar[bool] = ContextVar("coterie_debug", default=False)

EXIT_FAILED, EXIT_MISUSE, EXIT_CANCELLED = 1, 2, 130


def told(command: Callable[P, int]) -> Callable[P, None]:
    """A command that ends with its exit code, and tells its errors as `error: culprit; next step`."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        raise typer.Exit(_exit_code_of(lambda: command(*args, **kwargs)))

    return run


def _exit_code_of(work: Callable[[], int]) -> int:
    try:
        code = work()
        sys.stdout.flush()
    except typer.Exit as ended:
        return ended.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_CANCELLED
    except BrokenPipeError:
        # Whoever read the output has enough. Nothing may be written there at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except CoterieError as error:
        _say(f"error: {error}")
        return EXIT_MISUSE if isinstance(error, Misuse) else EXIT_FAILED
    # Nobody is left to handle it: this is the end of the program.
    except Exception as error:  # noqa: BLE001
        _say(
            f"error: unexpected {type(error).__name__}: {error}; "
            "run `coterie --debug ...` for the traceback, and report it"
        )
        return EXIT_FAILED
    return code


def _say(line: str) -> None:
    if DEBUG.get() and sys.exc_info()[0] is not None:
        traceback.print_exc()
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
