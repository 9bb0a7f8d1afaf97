"""A provider that counts requests when they arrive: at most `limit` in any window, a 429 for each beyond.

It speaks lines over TCP. A caller connects, is told `go` once all are there, and sends the instant of its admission, in
microseconds since the epoch; the answer is `200` or `429`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

__all__ = ["Request", "SlidingWindow", "StrictProvider", "serving"]

OK, TOO_MANY = 200, 429


class SlidingWindow:
    """At most `limit` in any window, both of its ends included. Whoever is refused counts as well."""

    def __init__(self, limit: int, window_us: int) -> None:
        self.limit = limit
        self.window_us = window_us
        self._arrivals: deque[int] = deque()

    def answer(self, arrival_us: int) -> int:
        """200 or 429, for a request that arrives now; arrivals never go back."""
        while self._arrivals and self._arrivals[0] < arrival_us - self.window_us:
            self._arrivals.popleft()
        self._arrivals.append(arrival_us)
        return OK if len(self._arrivals) <= self.limit else TOO_MANY


class Request(NamedTuple):
    """admitted_us: since the epoch, by the store's clock. way_us: from then until it arrived."""

    admitted_us: int
    way_us: int
    answer: int


class StrictProvider:
    """The server; `requests` holds all that arrived, in order. It starts to serve when `callers` are connected."""

    def __init__(self, window: SlidingWindow, callers: int) -> None:
        self.requests: list[Request] = []
        self.port = 0
        self.listening = threading.Event()
        self._window = window
        self._missing = callers
        self._all_there = asyncio.Event()
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Serve until `end` is called."""
        self._loop = asyncio.get_running_loop()
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.listening.set()
            await self._ended.wait()

    def end(self) -> None:
        """From another thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._all_there.set()
        try:
            # A caller that is killed leaves its connection.
            with suppress(ConnectionError):
                await self._all_there.wait()
                writer.write(b"go\n")
                while line := await reader.readline():
                    answer = self._window.answer(time.monotonic_ns() // 1000)
                    admitted_us = int(line)
                    self.requests.append(Request(admitted_us, time.time_ns() // 1000 - admitted_us, answer))
                    writer.write(b"%d\n" % answer)
        finally:
            writer.transport.abort()


@contextmanager
def serving(window: SlidingWindow, callers: int) -> Iterator[StrictProvider]:
    """The provider in a thread of its own, with its own event loop."""
    provider = StrictProvider(window, callers)
    thread = threading.Thread(target=lambda: asyncio.run(provider.run()))
    thread.start()
    try:
        assert provider.listening.wait(30), "the provider does not listen"
        yield provider
    finally:
        provider.end()
        thread.join(30)
