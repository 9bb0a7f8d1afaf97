"""Command agents: a subprocess with fixed arguments, JSON on its standard input, bounded output, no survivors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from coterie._json import JsonValue, canonical_bytes
from coterie._rules.redaction import redacted
from coterie._secrets import secrets_in
from coterie.errors import CommandFailed, PolicyError

__all__ = ["Command", "CommandOutput", "run_command"]

_TAIL_CHARS, _LOOKED_AT_BYTES = 200, 8_000
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
        What of it is a secret by its name (`API_TOKEN`), or a password in a URL, is struck out of the program's words.
    kill_grace_s: seconds between SIGTERM and SIGKILL to the process and all its children.
    """

    argv: Sequence[str]
    output: Literal["json", "text"] = "json"
    output_limit_bytes: int = 10 * 2**20
    ok_exit_codes: tuple[int, ...] = (0,)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    kill_grace_s: float = 5.0

    def __post_init__(self) -> None:
        if isinstance(self.argv, str) or not self.argv or not all(isinstance(part, str) for part in self.argv):
            raise PolicyError(f"argv is {self.argv!r}; give a list of strings, the program first")
        if not all(isinstance(part, str) for pair in dict(self.env).items() for part in pair):
            # The names alone: the values may be secret.
            raise PolicyError(f"env sets {', '.join(map(str, self.env))} to what is no text; quote numbers and such")
        if self.output_limit_bytes < 1 or self.kill_grace_s < 0 or self.output not in ("json", "text"):
            raise PolicyError(
                f"a command needs output_limit_bytes >= 1, kill_grace_s >= 0 and output 'json' or 'text', got {self!r}"
            )

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
            raise CommandFailed(f"{name!r} {_ended(done, secrets_in(self.env))}", exit_code=done.exit_code)
        if self.output == "text":
            return done.stdout.decode(errors="replace")
        try:
            value: JsonValue = json.loads(done.stdout)
        except (ValueError, RecursionError) as error:
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
    transport, watched = await _start(argv, env or {}, cwd, output_limit_bytes)
    try:
        _feed(transport, stdin)
        await watched.over
    finally:
        # Shielded, so that a second cancellation cannot skip it.
        await asyncio.shield(asyncio.ensure_future(_end(transport, watched, kill_grace_s)))
    if watched.too_long:
        raise CommandFailed(
            f"{Path(argv[0]).name!r} wrote more than {output_limit_bytes} bytes and was killed; "
            "let it print less, or raise output_limit_bytes"
        )
    return CommandOutput(transport.get_returncode() or 0, bytes(watched.written[1]), bytes(watched.written[2]))


async def _start(
    argv: Sequence[str], env: Mapping[str, str], cwd: str | None, limit_bytes: int
) -> tuple[asyncio.SubprocessTransport, _Watched]:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    starting = asyncio.ensure_future(
        asyncio.get_running_loop().subprocess_exec(
            lambda: _Watched(limit_bytes), *argv, env={**inherited, **env}, cwd=cwd, start_new_session=True
        )
    )
    try:
        # Cancelled half-way, asyncio would kill the program alone, and wait for children that hold its streams.
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(_end_started(starting)))
        raise
    except (OSError, ValueError) as error:
        raise CommandFailed(f"cannot start {argv[0]!r}: {error}; install it, or correct argv") from error


async def _end_started(starting: asyncio.Future[tuple[asyncio.SubprocessTransport, _Watched]]) -> None:
    """End what was cancelled while it started: at once, since it has done nothing yet."""
    try:
        transport, watched = await starting
    except (OSError, ValueError):
        return
    await _end(transport, watched, 0.0)


class _Watched(asyncio.SubprocessProtocol):
    """What a process has written, and how far it has come.

    over: it has exited or written too much. exited; drained: every stream is at its end.
    """

    def __init__(self, limit_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self.written = {1: bytearray(), 2: bytearray()}
        self.too_long = False
        self.over: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()
        self._limit_bytes = limit_bytes
        self._open = {1, 2}
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.written[fd] += data
        if len(self.written[fd]) > self._limit_bytes:
            self.too_long = True
            # Full pipes stop the program until it is killed; nothing more piles up here.
            pipe = self._transport and self._transport.get_pipe_transport(fd)
            cast("asyncio.ReadTransport", pipe).pause_reading()
            _settle(self.over)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        self._open.discard(fd)
        if not self._open:
            _settle(self.drained)

    def process_exited(self) -> None:
        _settle(self.exited)
        _settle(self.over)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _feed(transport: asyncio.SubprocessTransport, content: bytes) -> None:
    # A program that does not want its input closes the pipe: its exit code tells whether that is an error.
    pipe = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
    pipe.write(content)
    pipe.write_eof()


async def _end(transport: asyncio.SubprocessTransport, watched: _Watched, grace_s: float) -> None:
    """Leave nothing of the process group alive, and no pipe open."""
    try:
        await _end_group(transport.get_pid(), grace_s)
        await watched.exited
        if not watched.too_long:
            # What it had written is still in the pipes; but a child that escaped may hold them open for ever.
            await asyncio.wait([watched.drained], timeout=max(grace_s, 0.1))
    finally:
        transport.close()


async def _end_group(group: int, grace_s: float) -> None:
    if not _signal_group(group, signal.SIGTERM):
        return
    clock = asyncio.get_running_loop().time
    deadline = clock() + grace_s
    try:
        # Only asking tells whether the children are gone: they are not ours to wait for.
        while _signal_group(group, 0) and clock() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(min(0.02, grace_s))
    finally:
        # Also when the event loop is being torn down: nothing may survive because somebody was impatient.
        _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _ended(done: CommandOutput, secrets: Collection[str]) -> str:
    # Half of a secret is none that is known: they are struck out before the end is cut off.
    end = done.stderr[-_LOOKED_AT_BYTES:].decode(errors="replace").strip()
    tail = redacted(end, secrets)[-_TAIL_CHARS:]
    said = f"; it said: {tail!r}" if tail else "; it said nothing on standard error"
    if done.exit_code < 0:
        try:
            name = signal.Signals(-done.exit_code).name
        except ValueError:
            name = str(-done.exit_code)
        return f"was ended by {name}{said}"
    return f"ended with exit code {done.exit_code}{said}"
