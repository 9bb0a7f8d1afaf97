"""Blocks of code to enter with `async with`, or with `with` where no event loop runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

__all__ = ["Either", "blocking"]

T = TypeVar("T")


class Either(Generic[T]):
    """One block of code; enter it once. `make` is called on entry.

    By `with`, all but the block itself happens in coterie's background event loop.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._make = make
        self._entered: AbstractAsyncContextManager[T] | None = None

    async def __aenter__(self) -> T:
        self._entered = self._make()
        return await self._entered.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._entered is not None
        return await self._entered.__aexit__(kind, error, trace)

    def __enter__(self) -> T:
        return blocking(self.__aenter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return blocking(self.__aexit__(kind, error, trace))


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, in code that cannot await.

    Raises:
        Misuse: an event loop runs here.
    """
    from coterie.sync import run

    return run(work)
