"""One shared state as a shell sees it: in a store, or in this process alone while the store does not answer."""

from __future__ import annotations

import logging
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from coterie._rules.decided import Decide, State
from coterie._rules.timeline import SECOND
from coterie.clock import Clock, SystemClock
from coterie.errors import Misuse, Unavailable
from coterie.ports import StateStore

__all__ = ["SharedState", "StoreFailure"]

_log = logging.getLogger("coterie.state")

T = TypeVar("T")

# While the store does not answer: decide in this process alone, or raise `Unavailable`.
StoreFailure: TypeAlias = Literal["fail_open", "fail_closed"]

# How long a store that failed is left alone before it is asked again.
AWAY_S = 1.0


class SharedState:
    """The state of one key. Without a store it is this process's own.

    A failing store is told of once in the log, and asked again after a second, where it is done without by one caller
    alone; nothing needs a restart.

    Raises:
        Misuse: an unknown policy.
    """

    __slots__ = ("_away_until", "_clock", "_fails_open", "_keep_s", "_lost", "_own", "key", "store")

    def __init__(
        self,
        key: str,
        store: StateStore | None,
        *,
        keep_s: float,
        on_store_failure: StoreFailure,
        clock: Clock | None = None,
    ) -> None:
        if on_store_failure not in get_args(StoreFailure):
            raise Misuse(f"on_store_failure is {on_store_failure!r}; choose one of {', '.join(get_args(StoreFailure))}")
        self.key = key
        self.store = store
        self._keep_s = keep_s
        self._fails_open = on_store_failure == "fail_open"
        self._clock = clock or SystemClock()
        self._own: State | None = None
        self._lost = False
        self._away_until = 0.0

    @property
    def is_alone(self) -> bool:
        """Whether decisions are made in this process now, without a word to any store."""
        return self.store is None or (self._lost and self._fails_open and self._clock.monotonic() < self._away_until)

    async def update(self, decide: Decide[T]) -> T:
        """Apply a decision.

        Raises:
            Unavailable: the store failed, and decisions are not made without it.
        """
        if self.store is None or self.is_alone:
            return self._update_own(decide)
        self._ask_alone()
        try:
            result = await self.store.update(self.key, decide, keep_s=self._keep_s)
        except Unavailable as error:
            self._lose(error)
            if not self._fails_open:
                raise
            return self._update_own(decide)
        if self._lost:
            self._lost, self._own = False, None
            _log.info("state.store_recovered %s", self.key)
        return result

    async def read(self) -> tuple[State | None, int]:
        """The state, and the clock that it lives by, in microseconds since the epoch."""
        if self.store is None or self.is_alone:
            return self._own, self._now()
        self._ask_alone()
        try:
            return await self.store.read(self.key)
        except Unavailable as error:
            self._lose(error)
            if not self._fails_open:
                raise
            return self._own, self._now()

    def _ask_alone(self) -> None:
        """Of those who come while the store is away, one a second asks it: it may take long to fail."""
        if self._lost:
            self._away_until = self._clock.monotonic() + AWAY_S

    def _update_own(self, decide: Decide[T]) -> T:
        decided = decide(self._own, self._now())
        self._own = decided.state
        return decided.result

    def _now(self) -> int:
        return round(self._clock.now() * SECOND)

    def _lose(self, error: Unavailable) -> None:
        self._away_until = self._clock.monotonic() + AWAY_S
        if not self._lost:
            self._lost = True
            how: Any = "decided in this process alone" if self._fails_open else "refused"
            _log.warning("state.store_failed %s: until it answers again, calls are %s: %s", self.key, how, error)
