"""A service that bills each request, in a process of its own: it lives on when those who ask are killed.

It writes down every request, with its key: one that takes idempotency keys would have one effect for each key. Run as
`python -m tests.journal.crash.billing`; the first line it writes is its port.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

__all__ = ["Bill", "Billing", "billing", "pay"]

HOST = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parents[3]


class Bill(NamedTuple):
    """One request: for which unit of work, and with which key."""

    unit: str
    key: str


class Billing:
    """The service, seen by a test."""

    def __init__(self, port: int) -> None:
        self.port = port

    def of(self, run: str) -> list[Bill]:
        """All requests of a run so far, in the order in which they came."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/{run}", timeout=30) as answer:
            return [Bill(unit, key) for unit, key in json.load(answer)]


async def pay(port: int, run: str, unit: str, key: str) -> None:
    """Ask for something that costs, and wait until it is done."""
    body = json.dumps([unit, key]).encode()
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"POST /{run} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    if b" 200 " not in answer.split(b"\r\n", 1)[0]:
        raise ConnectionError(f"the service answered {answer[:80]!r}")


@contextmanager
def billing() -> Iterator[Billing]:
    """Start the service; end it afterwards."""
    command = [sys.executable, "-m", "tests.journal.crash.billing"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        try:
            yield Billing(int(process.stdout.readline()))
        finally:
            process.kill()


class _Handler(BaseHTTPRequestHandler):
    bills: ClassVar[dict[str, list[Bill]]] = {}

    def do_POST(self) -> None:
        unit, key = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # Appending is atomic: requests come in threads.
        self.bills.setdefault(self.path[1:], []).append(Bill(unit, key))
        self._answer({"effect": key})

    def do_GET(self) -> None:
        self._answer(self.bills.get(self.path[1:], []))

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        # Whoever asked may be dead by now.
        with suppress(ConnectionError):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


if __name__ == "__main__":
    with _Server((HOST, 0), _Handler) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()
