"""A guarded block, and a decision that can be waited for: what `CircuitBreaker` hands out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from coterie.breaker.local import Pass
from coterie.breaker.outcome import Outcome
from coterie.breaker.shadow import Tally

if TYPE_CHECKING:
    from coterie.breaker.circuit import CircuitBreaker

__all__ = ["Confirmation", "Guard"]

T = TypeVar("T")


class Guard:
    """One guarded block; made by `CircuitBreaker.guard`."""

    __slots__ = ("_began_s", "_breaker", "_code", "_is_calling", "_judging", "_pass", "_tally")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._pass: Pass | None = None
        self._tally: Tally | None = None
        self._began_s = 0.0
        self._code: Outcome = "s"
        self._judging = False
        self._is_calling = True

    def hold(self) -> Self:
        """The block does something else first: until `calls`, what it raises and how long it takes says nothing."""
        self._is_calling = False
        return self

    def calls(self) -> None:
        """From now on it is the call."""
        self._is_calling = True
        self._began_s = self._breaker._monotonic()  # noqa: SLF001

    def result(self, value: T) -> T:
        """Have the block's result judged, and get it back; without it, a block that raises nothing has succeeded."""
        self._judging = True
        self._code = self._breaker._classify.of_result(value)  # noqa: SLF001 - a part of the breaker
        self._judging = False
        return value

    async def __aenter__(self) -> Self:
        breaker = self._breaker
        self._tally = breaker._shadow.tally  # noqa: SLF001
        if self._tally is None:
            self._pass = await breaker.enter()
            self._tally = self._pass.tally
        self._began_s = breaker._monotonic()  # noqa: SLF001
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended_s = self._breaker._monotonic()  # noqa: SLF001
        code = self._code
        if error is not None:
            # What a predicate raises is the caller's to mend, and says nothing about the one that was called.
            code = "i"
            try:
                if self._is_calling and not self._judging:
                    code = self._breaker._classify.of_error(error)  # noqa: SLF001
            finally:
                await self._leave(code, ended_s, error)
        elif self._tally is None or code != "s":
            await self._leave(code, ended_s)
        else:
            self._breaker.count(self._tally, "s", self._began_s, ended_s)

    async def _leave(self, code: Outcome, ended_s: float, error: BaseException | None = None) -> None:
        breaker, passed = self._breaker, self._pass
        if self._tally is not None:
            breaker.count(self._tally, code, self._began_s, ended_s, error)
        elif passed is not None:
            await passed.side.leave(passed, breaker.judged(code, ended_s - self._began_s, error))


class Confirmation(Awaitable[None]):
    """Await it to know that the store has confirmed; or do not, and the decision goes its way."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[None] | None) -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, None]:
        if self._task is not None:
            yield from asyncio.shield(self._task).__await__()
