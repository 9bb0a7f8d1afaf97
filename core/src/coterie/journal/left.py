"""Claims that this process gave up, and could not hand back: until their leases end, the journal names it for them."""

from __future__ import annotations

import time
from typing import NamedTuple

from coterie._rules.journal import Place
from coterie.ids import WorkflowId

__all__ = ["LeftClaim", "LeftClaims"]


class LeftClaim(NamedTuple):
    """Of one unit of work, by an owner who has no other."""

    run: WorkflowId
    place: Place
    owner: str


class LeftClaims:
    """Nobody is at them: this process need not wait for them, and hands them back when it can.

    lease_s: of the claims; after it they are anybody's, whoever is named.
    """

    def __init__(self, lease_s: float) -> None:
        # What was asked for just before may be granted a moment later.
        self._keep_s = 2 * lease_s
        self._left: dict[str, tuple[float, LeftClaim]] = {}

    def __contains__(self, owner: str) -> bool:
        return owner in self._left

    def add(self, claim: LeftClaim) -> None:
        """One that nobody here acts under any more."""
        now_s = time.monotonic()
        for owner in [owner for owner, (until_s, _) in self._left.items() if until_s < now_s]:
            del self._left[owner]
        self._left[claim.owner] = now_s + self._keep_s, claim

    def drop(self, owner: str) -> None:
        """It is handed back."""
        self._left.pop(owner, None)

    def claims(self) -> list[LeftClaim]:
        """Those that are to be handed back."""
        return [claim for _, claim in self._left.values()]
