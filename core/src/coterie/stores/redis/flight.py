"""Single flight of a state: callers of one key in this process share trips to the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from coterie._rules.decided import Signal, State
from coterie.stores.redis.convoy import Convoy, Round
from coterie.stores.redis.fold import Ask, Folded, fold
from coterie.stores.states import from_text

__all__ = ["Flight", "Seen", "Trips"]


class Seen(NamedTuple):
    """What lay at the key, as text, and the server's clock then, in microseconds."""

    raw: bytes | None
    now: int


class Trips(Protocol):
    """The two ways to the server. They raise coterie's errors."""

    async def read(self, key: str) -> Seen:
        """The value and the time."""
        ...

    async def swap(
        self, key: str, expected: bytes | None, text: str | None, keep_s: float | None, signals: Sequence[Signal]
    ) -> tuple[bool, Seen]:
        """Store `text` (None: remove) and tell, if `expected` lies there; and what lies there afterwards."""
        ...


class Flight(Convoy[Seen, Folded]):
    """All who update one key."""

    def __init__(self, key: str, trips: Trips, *, timeout_s: float, over: Callable[[], object]) -> None:
        super().__init__(key, timeout_s=timeout_s, over=over)
        self._key = key
        self._trips = trips

    async def look(self) -> Seen:
        """See `Convoy.look`."""
        return await self._trips.read(self._key)

    def decide(self, asks: Sequence[Ask], seen: Seen) -> Round[Folded]:
        """See `Convoy.decide`."""
        folded = fold(asks, _state(seen, self._key), seen.now, key=self._key)
        return Round(folded.outcomes, folded if folded.changed else None)

    async def store(self, plan: Folded, seen: Seen) -> tuple[bool, Seen]:
        """See `Convoy.store`."""
        return await self._trips.swap(self._key, seen.raw, plan.text, plan.keep_s, plan.signals)


def _state(seen: Seen, key: str) -> State | None:
    return None if seen.raw is None else from_text(seen.raw, key)
