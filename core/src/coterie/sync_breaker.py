"""`coterie.CircuitBreaker` for code that cannot await: the same names, blocking, for many threads.

The guarded function runs in the calling thread. A breaker without a store is asked under a lock; a shared one lives in
the background loop of `coterie.sync`.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from coterie import breaker, sync
from coterie.errors import Misuse

__all__ = ["CircuitBreaker", "Guard"]

P = ParamSpec("P")
T = TypeVar("T")


class CircuitBreaker:
    """Guards plain functions with `wrapped`, which nobody else may use from then on."""

    def __init__(self, wrapped: breaker.CircuitBreaker) -> None:
        self._wrapped = wrapped
        # A listener, or a predicate, may look at the breaker that asks it.
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"sync_breaker.{self._wrapped!r}"

    def call(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `coterie.CircuitBreaker.call`; `func` runs in this thread."""
        with self.guard() as call:
            return call.result(func(*args, **kwargs))

    def guard(self) -> Guard:
        """See `coterie.CircuitBreaker.guard`; a `with` block."""
        return Guard(self, self._wrapped.guard())

    def __call__(self, func: Callable[P, T]) -> Callable[P, T]:
        """Guard every call of a plain function: a decorator.

        Raises:
            Misuse: it is a coroutine function; decorate it with `coterie.CircuitBreaker`.
        """
        if inspect.iscoroutinefunction(func):
            raise Misuse(f"{func!r} is a coroutine function; decorate it with coterie.CircuitBreaker itself")

        @functools.wraps(func)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            return self.call(func, *args, **kwargs)

        return guarded

    def get_state(self) -> breaker.BreakerStatus:
        """See `coterie.CircuitBreaker.get_state`."""

        async def look() -> breaker.BreakerStatus:
            return self._wrapped.get_state()

        return self.run(look())

    def refresh(self) -> breaker.BreakerStatus:
        """See `coterie.CircuitBreaker.refresh`."""
        return self.run(self._wrapped.refresh())

    def reset(self) -> None:
        """See `coterie.CircuitBreaker.reset`; ends when the store has confirmed it, as all that follow."""
        self._by_hand(self._wrapped.reset)

    def force_open(self) -> None:
        """See `coterie.CircuitBreaker.force_open`."""
        self._by_hand(self._wrapped.force_open)

    def force_closed(self) -> None:
        """See `coterie.CircuitBreaker.force_closed`."""
        self._by_hand(self._wrapped.force_closed)

    def disable(self) -> None:
        """See `coterie.CircuitBreaker.disable`."""
        self._by_hand(self._wrapped.disable)

    def metrics_only(self) -> None:
        """See `coterie.CircuitBreaker.metrics_only`."""
        self._by_hand(self._wrapped.metrics_only)

    def auto(self) -> None:
        """See `coterie.CircuitBreaker.auto`."""
        self._by_hand(self._wrapped.auto)

    def close(self) -> None:
        """See `coterie.CircuitBreaker.aclose`."""
        self.run(self._wrapped.aclose())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what the wrapped breaker would await."""
        if self._wrapped.is_shared:
            return sync.run(work)
        with self._lock:
            return _without_waiting(work)

    def _by_hand(self, decide: Callable[[], Awaitable[None]]) -> None:
        async def work() -> None:
            await decide()

        self.run(work())


class Guard:
    """One guarded block; made by `CircuitBreaker.guard`."""

    __slots__ = ("_breaker", "_guard")

    def __init__(self, breaker: CircuitBreaker, guard: breaker.Guard) -> None:
        self._breaker = breaker
        self._guard = guard

    def result(self, value: T) -> T:
        """See `coterie.breaker.Guard.result`."""
        return self._guard.result(value)

    def __enter__(self) -> Self:
        self._breaker.run(self._guard.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._breaker.run(self._guard.__aexit__(kind, error, trace))


def _without_waiting(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, as those of a breaker without a store."""
    try:
        work.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    work.close()
    raise AssertionError("a breaker without a store waited; this is a defect of coterie")
