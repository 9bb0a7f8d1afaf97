"""Processes that run one function each and are killed in the midst of it: forked, so that they start at once.

Run as `python -m tests.journal.crash.nursery MODULE:FUNCTION`: it imports the module, then reads one JSON document a
line, forks a process for it, which leads a group of its own, and answers with the number of the process and, when it
has ended, with how.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Nursery"]

REPOSITORY = Path(__file__).resolve().parents[3]
# Longer than any victim takes that is not wedged, on a machine that is busy.
PATIENCE_S = 120.0


class Nursery:
    """call: the function, as "module:name". errors: where its processes complain. path: where modules are found too."""

    def __init__(self, call: str, errors: Path, *, path: Sequence[Path] = ()) -> None:
        self._errors = errors
        more = os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
        with errors.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.journal.crash.nursery", call],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": more} if more else None,
            )
        self.child = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.child:
            self.kill()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start a process."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        self.child = int(self._line())

    def kill(self) -> None:
        """SIGKILL for the process and all that it started, at this instant."""
        with suppress(ProcessLookupError):
            os.killpg(self.child, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started."""
        os.killpg(self.child, number)

    @property
    def is_over(self) -> bool:
        """Whether the process has ended; `end` says how."""
        ready, _, _ = select.select([self._process.stdout], [], [], 0.0)
        return bool(ready)

    def end(self) -> int:
        """Wait for its end: its exit code, negative for a signal."""
        code = int(self._line())
        self.child = 0
        return code

    def run(self, settings: Mapping[str, Any]) -> int:
        """Start a process, and wait for its end."""
        self.begin(settings)
        return self.end()

    def complaint(self) -> str:
        """What its processes complained of last."""
        return self._errors.read_text("utf-8", errors="replace")[-4000:]

    def _line(self) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
        line = self._process.stdout.readline() if ready else ""
        assert line, f"no word within {PATIENCE_S:g} s: {self.complaint()}"
        return line


def serve(call: Callable[[dict[str, Any]], None]) -> None:
    """Fork a process for each document that comes."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _live(call, json.loads(line))
        # Here too, as it may be asked to kill the group before the child has made it.
        with suppress(PermissionError, ProcessLookupError):
            os.setpgid(child, child)
        _say(str(child))
        _, status = os.waitpid(child, 0)
        _say(str(os.waitstatus_to_exitcode(status)))


def _live(call: Callable[[dict[str, Any]], None], settings: dict[str, Any]) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        call(settings)
        code = 0
    except BaseException:  # noqa: BLE001 - the end of a process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    serve(getattr(import_module(module), name))
