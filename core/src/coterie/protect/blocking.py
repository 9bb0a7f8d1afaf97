"""`Protected` for code that cannot await: the same names, blocking, for many threads."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar, cast

from coterie import sync
from coterie.errors import Misuse
from coterie.protect.call import Call, making

if TYPE_CHECKING:
    from coterie.protect.protected import Protected

__all__ = ["BlockingProtected"]

P = ParamSpec("P")
T = TypeVar("T")


class BlockingProtected:
    """`Protected`, blocking; the code runs in the thread that calls. Made by `Protected.blocking`."""

    def __init__(self, wrapped: Protected) -> None:
        self._wrapped = wrapped

    def __repr__(self) -> str:
        return f"{self._wrapped!r}.blocking()"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Protected.call`.

        Raises:
            Misuse: the calling thread runs an event loop; await the other form.
        """
        _refuse_in_loop()
        visit = self._wrapped.visit(func, args, kwargs)
        try:
            self._wrapped.home.start(visit)
            while (turn := visit.blocking_turn()) is not None:
                with visit.trying(turn), making(visit.call):
                    turn.succeeded(func(*args, **kwargs))
            return cast("T", visit.result)
        except Exception as error:
            if not self._wrapped.is_replaceable(error):
                raise
            found = sync.run(self._wrapped.home.stand_in(visit, error))
            if found is None:
                raise
            return cast("T", found[0])
        finally:
            visit.blocking_leave()

    def __call__(self, func: Callable[P, T]) -> Callable[P, T]:
        """Protect every call of a plain function: a decorator.

        Raises:
            Misuse: it is a coroutine function; decorate it with the `Protected` itself.
        """
        if inspect.iscoroutinefunction(func):
            raise Misuse(f"{func!r} is a coroutine function; decorate it with the Protected itself")

        @functools.wraps(func)
        def protected(*args: P.args, **kwargs: P.kwargs) -> T:
            return self.call(func, *args, **kwargs)

        return protected

    @contextmanager
    def admit(
        self, *, priority: int | None = None, key: str | None = None, wait_s: float | None = None
    ) -> Iterator[Call]:
        """See `Protected.admit`; a `with` block."""
        _refuse_in_loop()
        asked = self._wrapped.asking(priority=priority, key=key, wait_s=wait_s)
        visit = asked.visit()
        try:
            asked.home.start(visit)
            turn = visit.blocking_turn()
            assert turn is not None
            with visit.trying(turn):
                yield visit.call
                turn.succeeded()
            visit.blocking_turn()
        finally:
            visit.blocking_leave()

    def close(self) -> None:
        """See `Protected.aclose`."""
        sync.run(self._wrapped.home.aclose())


def _refuse_in_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise Misuse("a blocking call was made inside a running event loop, which it would block; await the Protected")
