"""A state store whose lists of names are remembered, as to make one costs a look at every key of the servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coterie.ports import StateStore
from coterie.ports.around import StateStoreAround

__all__ = ["Names", "Remembering"]

# At most one part in so many of the time goes into making lists.
_SHARE = 20


class Names:
    """Lists of names, each made again when it is old enough.

    A list that took t seconds to make is good for twenty times t, and for `least_s`: a small store's are made for each
    frame, those of millions of keys now and then. clock: seconds that only grow. most: names of a list that are used.
    """

    def __init__(self, clock: Callable[[], float], *, most: int = 500, least_s: float = 0.0) -> None:
        self._clock = clock
        self._most = most
        self._least_s = least_s
        self._lists: dict[str, tuple[float, Sequence[str]]] = {}

    def known(self, kind: str) -> Sequence[str] | None:
        """The list, if it is good still."""
        until, names = self._lists.get(kind, (0.0, ()))
        return names[: self._most] if kind in self._lists and self._clock() < until else None

    def keep(self, kind: str, names: Sequence[str], since: float) -> Sequence[str]:
        """Remember a list that was begun at `since`; what of it is used."""
        now = self._clock()
        self._lists[kind] = (now + max(self._least_s, _SHARE * (now - since)), names)
        return names[: self._most]

    def hidden(self, kind: str) -> int:
        """How many names of a list are not used."""
        return max(0, len(self._lists.get(kind, (0.0, ()))[1]) - self._most)

    @property
    def now(self) -> float:
        """The clock."""
        return self._clock()


class Remembering(StateStoreAround):
    """A `StateStore` to look at, with remembered lists of names."""

    def __init__(self, store: StateStore, names: Names) -> None:
        super().__init__(store)
        self._names = names

    async def keys(self, kind: str) -> Sequence[str]:
        """See `StateStore.keys`; as they were not long ago, and not more than are used."""
        known = self._names.known(kind)
        if known is not None:
            return known
        since = self._names.now
        return self._names.keep(kind, await super().keys(kind), since)

    def hidden(self, kind: str) -> int:
        """How many keys of a kind are passed over."""
        return self._names.hidden(kind)
