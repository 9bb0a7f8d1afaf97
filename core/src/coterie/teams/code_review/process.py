"""Run one of the reviewing programs to its end, within a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from coterie.command import CommandOutput, run_command
from coterie.teams.code_review.errors import ToolFailed

__all__ = ["ProgramTimedOut", "complaint", "run_program"]

_OUTPUT_LIMIT_BYTES = 64 * 2**20


class ProgramTimedOut(ToolFailed):
    """The program did not end in time; it was killed, with its children."""


async def run_program(
    argv: Sequence[str],
    *,
    name: str,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    stdin: bytes = b"",
    max_file_bytes: int | None = None,
) -> CommandOutput:
    """Start `argv` and wait for its end. However this ends, cancellation included, no child of it survives.

    name: what errors call the program. max_file_bytes: what it may write to any one file.

    Raises:
        ProgramTimedOut: after `timeout_s` seconds.
        CommandFailed: it could not be started, or wrote more than 64 MiB.
    """
    if max_file_bytes is not None:
        # POSIX counts in blocks of 512 bytes.
        argv = ["/bin/sh", "-c", f'ulimit -f {max_file_bytes // 512}; exec "$@"', "sh", *argv]
    try:
        async with asyncio.timeout(timeout_s):
            return await run_command(
                argv, stdin=stdin, output_limit_bytes=_OUTPUT_LIMIT_BYTES, env=env, cwd=str(cwd), kill_grace_s=1.0
            )
    except TimeoutError as error:
        raise ProgramTimedOut(
            f"{name} did not end within {timeout_s:g} s; give the task more time, or review less"
        ) from error


def complaint(done: CommandOutput) -> str:
    """The end of what a program said to standard error, on one line."""
    return " ".join(done.stderr.decode("utf-8", "replace").split())[-300:]
