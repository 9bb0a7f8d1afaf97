"""What the consumers of this process hold, as far as it knows: so that who acknowledges need not be looked up."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from coterie._rules.log import Position

__all__ = ["Holder"]


class Holder:
    """One consumer, as this process sees it.

    turn: the number of the last take whose answer came, "" before. The server knows whether anything else has changed
    what the consumer holds since then.
    """

    __slots__ = ("_doubtful", "_held", "_is_lost", "turn")

    def __init__(self) -> None:
        self.turn = ""
        self._held: set[Position] = set()
        # Held before something else changed what it holds.
        self._doubtful: set[Position] = set()
        self._is_lost = False

    def turn_for(self, done: Collection[Position]) -> str:
        """The turn, where all this is what the consumer was given since nothing else changed what it holds; else ""."""
        return self.turn if self._held.issuperset(done) and self._doubtful.isdisjoint(done) else ""

    @property
    def known(self) -> Collection[Position] | None:
        """All that it was told that it holds, where it may hold more, as an answer was lost; else None."""
        return self._held if self._is_lost else None

    def lose(self) -> None:
        """An answer to a take was lost."""
        self._is_lost = True

    def settle(self, done: Iterable[Position], given: Iterable[Position], turn: str, *, is_sure: bool) -> None:
        """A take was answered. is_sure: nothing else has changed what the consumer holds since the turn before."""
        self._is_lost = False
        self.turn = turn
        self._held.difference_update(done)
        if is_sure:
            self._doubtful.difference_update(done)
        else:
            self._doubtful = set(self._held)
        self._held.update(given)

    def drop(self, done: Iterable[Position]) -> None:
        """It is done with these, or has given them back."""
        self._held.difference_update(done)
        self._doubtful.difference_update(done)
