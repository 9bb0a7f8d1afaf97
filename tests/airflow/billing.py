"""A service that bills each request: it counts them, by what they are for and by their idempotency key."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Billing", "bill", "billing_server"]


class Billing:
    """What was billed so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._bills: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def add(self, what: str, key: str) -> None:
        with self._lock:
            self._bills[what, key] += 1

    def copy(self) -> Billing:
        """What was billed by now."""
        then = Billing(self.url)
        with self._lock:
            then._bills = self._bills.copy()
        return then

    def of(self, what: str) -> tuple[int, int]:
        """Its requests, and its keys."""
        return self.requests(what), self.keys(what)

    def requests(self, what: str) -> int:
        """How often it was asked for."""
        with self._lock:
            return sum(number for (name, _), number in self._bills.items() if name == what)

    def keys(self, what: str) -> int:
        """How often a service that knows its keys would bill it."""
        with self._lock:
            return sum(name == what for name, _ in self._bills)


def bill(url: str, what: str, key: str) -> str:
    """Ask for something that costs."""
    request = urllib.request.Request(url, json.dumps({"what": what}).encode(), {"Idempotency-Key": key})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


@contextmanager
def billing_server() -> Iterator[Billing]:
    """The service, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            billing.add(json.loads(body)["what"], self.headers["Idempotency-Key"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"paid")

        def log_message(self, *_: object) -> None:
            """Nothing: the counts tell."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        billing = Billing(f"http://127.0.0.1:{service.server_address[1]}")
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        try:
            yield billing
        finally:
            service.shutdown()
            thread.join()
