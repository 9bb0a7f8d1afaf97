"""An event loop of simulated time, and what takes time in it: whoever does one thing after the other, and machines.

Callers are generators: each yields what it waits for, a function that is given the way to go on.
"""

from __future__ import annotations

__all__ = ["Go", "Host", "Loop", "Station", "Wait"]

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

Go = Callable[[], None]
Wait = Callable[[Go], None]


class Loop:
    """Simulated time, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._number = 0
        self._events: list[tuple[float, int, Go]] = []

    def after(self, delay_s: float, go: Go) -> None:
        """Call it then; what is due at once in the order of asking."""
        self._number += 1
        heappush(self._events, (self.now + delay_s, self._number, go))

    def sleep(self, delay_s: float) -> Wait:
        """For a caller: wait so long."""
        return lambda go: self.after(delay_s, go)

    def run(self, until_s: float) -> None:
        """All that happens by then."""
        while self._events and self._events[0][0] <= until_s:
            self.now, _, go = heappop(self._events)
            go()
        self.now = until_s

    def start(self, caller: Iterator[Wait]) -> None:
        """Let a caller go on whenever what it waits for is there."""

        def go() -> None:
            wait = next(caller, None)
            if wait is not None:
                wait(go)

        go()


class Station:
    """Whoever does one thing after the other: a process, a store. host: the machine that it shares with others."""

    def __init__(self, loop: Loop, host: Host | None = None) -> None:
        self._loop, self._host = loop, host
        self._waiting: deque[tuple[Callable[[], float], Go]] = deque()
        self._busy = False
        self.busy_s = 0.0

    def work(self, cost_us: Callable[[], float] | float) -> Wait:
        """Take so long, known when it begins."""
        cost = cost_us if callable(cost_us) else lambda: cost_us
        return lambda go: self._take(cost, go)

    def _take(self, cost: Callable[[], float], go: Go) -> None:
        self._waiting.append((cost, go))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if not self._busy:
            return
        cost, go = self._waiting.popleft()
        took_s = cost() / 1e6
        self.busy_s += took_s

        def done() -> None:
            go()
            self._next()

        if self._host is None:
            self._loop.after(took_s, done)
        else:
            self._host.take(took_s, done)


class Host:
    """A machine whose cores its processes share fairly, also with `foreign` threads of others that want to run."""

    def __init__(self, loop: Loop, cores: int, foreign: float) -> None:
        self._loop, self._cores, self._foreign = loop, cores, foreign
        self._active = 0

    def take(self, cost_s: float, done: Go) -> None:
        """Compute for so long, or longer where there are not cores enough for all who do so now."""
        self._active += 1

        def over() -> None:
            self._active -= 1
            done()

        self._loop.after(cost_s * max(1.0, (self._active + self._foreign) / self._cores), over)
