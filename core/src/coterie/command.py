"""Command agents: a subprocess with fixed arguments, JSON on its standard input, bounded output, no survivors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from coterie._json import JsonValue, canonical_bytes
from coterie.errors import CommandFailed, Misuse, PolicyError

__all__ = ["Command", "CommandOutput", "run_command"]

_CHUNK_BYTES = 65_536
_TAIL_CHARS = 200
# What a program needs to find itself and its files; secrets of the parent stay with it.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """What a finished process left. `exit_code` is negative for a signal; both streams are cut at the limit."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Command:
    """An agent's handler that runs a program. The task's input goes to its standard input as one JSON object.

    argv: program and arguments, fixed when the team is written: no input ever becomes an argument.
    output: how standard output becomes the result: `json`, or `text` (UTF-8, replaced where it is not).
    output_limit_bytes: the process is killed when either stream is longer.
    ok_exit_codes: those that count as success (many linters end with 1 when they find something).
    env: added to PATH, HOME, LANG, LC_ALL, TMPDIR and TZ of this process; nothing else is inherited.
    kill_grace_s: seconds between SIGTERM and SIGKILL to the process and all its children.
    """

    argv: Sequence[str]
    output: Literal["json", "text"] = "json"
    output_limit_bytes: int = 10 * 2**20
    ok_exit_codes: tuple[int, ...] = (0,)
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    kill_grace_s: float = 5.0

    def __post_init__(self) -> None:
        if isinstance(self.argv, str) or not self.argv or not all(isinstance(part, str) for part in self.argv):
            raise PolicyError(f"argv is {self.argv!r}; give a list of strings, the program first")
        if self.output_limit_bytes < 1 or self.kill_grace_s < 0:
            raise PolicyError(f"a command needs output_limit_bytes >= 1 and kill_grace_s >= 0, got {self!r}")

    async def __call__(self, task_input: dict[str, JsonValue]) -> JsonValue:
        """Run the program once.

        Raises:
            CommandFailed: it could not start, ended badly, wrote too much, or not what was promised.
        """
        done = await run_command(
            self.argv,
            stdin=canonical_bytes(task_input),
            output_limit_bytes=self.output_limit_bytes,
            env=self.env,
            cwd=self.cwd,
            kill_grace_s=self.kill_grace_s,
        )
        name = Path(self.argv[0]).name
        if done.exit_code not in self.ok_exit_codes:
            raise CommandFailed(f"{name!r} {_ended(done)}", exit_code=done.exit_code)
        if self.output == "text":
            return done.stdout.decode(errors="replace")
        try:
            value: JsonValue = json.loads(done.stdout)
        except ValueError as error:
            raise CommandFailed(
                f"{name!r} did not write JSON: {error}; let it print one JSON value, or set output='text'",
                exit_code=done.exit_code,
            ) from error
        return value


async def run_command(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    output_limit_bytes: int = 10 * 2**20,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    kill_grace_s: float = 5.0,
) -> CommandOutput:
    """Run a program in a process group of its own and wait for it.

    When this is cancelled, or the output is too long, the whole group gets SIGTERM and, `kill_grace_s` seconds
    later, SIGKILL; only then does this return. A child that moves to a group of its own escapes.

    Raises:
        CommandFailed: the program could not be started, or wrote more than `output_limit_bytes`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**{name: os.environ[name] for name in _INHERITED if name in os.environ}, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise CommandFailed(f"cannot start {argv[0]!r}: {error}; install it, or correct argv") from error
    try:
        streams = await _communicate(process, stdin, output_limit_bytes)
        # A child that closed its streams and lives on must not outlive its parent either.
        await process.wait()
        return CommandOutput(process.returncode or 0, *streams)
    except _TooLong as error:
        raise CommandFailed(
            f"{Path(argv[0]).name!r} wrote more than {output_limit_bytes} bytes and was killed; "
            "let it print less, or raise output_limit_bytes"
        ) from error
    finally:
        await _end_group(process, kill_grace_s)


class _TooLong(Exception):
    """One stream of the process went over its limit."""


async def _communicate(process: asyncio.subprocess.Process, stdin: bytes, limit: int) -> tuple[bytes, bytes]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise Misuse("the process was started without pipes; start it with run_command")
    jobs = [
        asyncio.ensure_future(_read(process.stdout, limit)),
        asyncio.ensure_future(_read(process.stderr, limit)),
        asyncio.ensure_future(_feed(process.stdin, stdin)),
    ]
    try:
        stdout, stderr, _ = await asyncio.gather(*jobs)
    finally:
        for job in jobs:
            job.cancel()
    return stdout or b"", stderr or b""


async def _read(stream: asyncio.StreamReader, limit: int) -> bytes:
    content = bytearray()
    while chunk := await stream.read(_CHUNK_BYTES):
        content += chunk
        if len(content) > limit:
            raise _TooLong
    return bytes(content)


async def _feed(stream: asyncio.StreamWriter, content: bytes) -> bytes:
    try:
        stream.write(content)
        await stream.drain()
    except (BrokenPipeError, ConnectionResetError):
        # The program did not want its input: its exit code tells whether that is an error.
        return b""
    finally:
        stream.close()
    return b""


async def _end_group(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """Leave nothing of the process group alive; shielded, so that a second cancellation cannot skip it."""
    await asyncio.shield(asyncio.ensure_future(_kill_group(process, grace_s)))


async def _kill_group(process: asyncio.subprocess.Process, grace_s: float) -> None:
    if not _signal_group(process.pid, signal.SIGTERM):
        await process.wait()
        return
    deadline = asyncio.get_running_loop().time() + grace_s
    # Only asking tells whether the children are gone: they are not ours to wait for.
    while _signal_group(process.pid, 0) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(min(0.02, grace_s))
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _ended(done: CommandOutput) -> str:
    tail = done.stderr.decode(errors="replace").strip()[-_TAIL_CHARS:]
    said = f"; it said: {tail!r}" if tail else "; it said nothing on standard error"
    if done.exit_code < 0:
        try:
            name = signal.Signals(-done.exit_code).name
        except ValueError:
            name = str(-done.exit_code)
        return f"was ended by {name}{said}"
    return f"ended with exit code {done.exit_code}{said}"
