"""Worker processes for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
TEAM = "tests.fleet.remote.worker_team:team"
END_S = 30.0


class Workers:
    """`coterie worker` processes over one store; all are ended in the end."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        """One more, of that id."""
        command = [sys.executable, "-m", "coterie", "worker", "--team", TEAM, "--store", self.url, "--id", name]
        command += ["--artifacts", str(self.folder / "artifacts"), "--graceful-shutdown-timeout", "20", *more]
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log, env=environment(self.folder))
        self.processes[name] = process
        return process

    def kill(self, name: str) -> float:
        """SIGKILL; when, in seconds since the epoch."""
        at_s = time.time()
        self.processes[name].kill()
        self.processes[name].wait(END_S)
        return at_s

    def drain(self, name: str) -> None:
        """SIGTERM."""
        self.processes[name].send_signal(signal.SIGTERM)

    def log(self, name: str) -> str:
        """What it wrote."""
        return (self.folder / f"{name}.log").read_text("utf-8", errors="replace")


@contextmanager
def workers(url: str, folder: Path) -> Iterator[Workers]:
    """None at first."""
    found = Workers(url, folder)
    try:
        yield found
    finally:
        for process in found.processes.values():
            with suppress(ProcessLookupError):
                process.kill()
            process.wait(END_S)


def environment(folder: Path) -> dict[str, str]:
    """Of processes that find this repository, and nobody's state."""
    return {**os.environ, "COTERIE_HOME": str(folder / "home"), "PYTHONPATH": str(REPOSITORY)}


def notes_of(path: Path) -> list[list[str]]:
    """What agents noted: what, task, the beginning of its idempotency key, process."""
    return [line.split() for line in path.read_text("ascii").splitlines()] if path.exists() else []
