"""How a command fails: one line on standard error, an exit code, and a traceback only for those who ask."""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import ParamSpec, TypeAlias

import typer

from coterie.cli.formats import LogFormat
from coterie.errors import CoterieError, Misuse
from coterie.telemetry.logs import cleaned

__all__ = ["DEBUG", "json_line", "json_wanted", "says_json", "told"]

P = ParamSpec("P")
ExcInfo: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"

DEBUG: ContextVar[bool] = ContextVar("coterie_debug", default=False)
_JSON: ContextVar[bool] = ContextVar("coterie_log_json", default=False)

EXIT_FAILED, EXIT_MISUSE, EXIT_CANCELLED = 1, 2, 130


def json_wanted(given: LogFormat) -> bool:
    """Whether standard error is to hold one JSON object a line; from then on, how the command fails is one too."""
    _JSON.set(given is LogFormat.JSON)
    return given is LogFormat.JSON


def says_json() -> bool:
    """Whether standard error holds one JSON object a line."""
    return _JSON.get()


def json_line(line: str, level: int = logging.INFO, error: ExcInfo | None = None) -> str:
    """What the command itself says, as such a line."""
    from coterie.telemetry.log_lines import JsonFormatter

    return JsonFormatter().format(logging.LogRecord("coterie.cli", level, __file__, 0, line, None, error))


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
        _say(f"error: {cleaned(str(error))}")
        return EXIT_MISUSE if isinstance(error, Misuse) else EXIT_FAILED
    # Nobody is left to handle it: this is the end of the program.
    except Exception as error:  # noqa: BLE001
        _say(
            f"error: unexpected {type(error).__name__}: {cleaned(str(error))}; "
            "run `coterie --debug ...` for the traceback, and report it"
        )
        return EXIT_FAILED
    return code


def _say(line: str) -> None:
    if _JSON.get():
        line = json_line(line.removeprefix("error: "), logging.ERROR, sys.exc_info() if DEBUG.get() else None)
    elif DEBUG.get() and sys.exc_info()[0] is not None:
        sys.stderr.write(cleaned(traceback.format_exc()))
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
