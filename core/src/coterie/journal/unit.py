"""One unit of work that is being done: a task, or one item of a foreach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coterie._rules.journal import Reason
from coterie._rules.journal_text import Record
from coterie._rules.written import Guard
from coterie.errors import LeaseLost

if TYPE_CHECKING:
    from coterie.journal.steps import Steps

__all__ = ["Unit", "mark_of"]


@dataclass(slots=True, eq=False)
class Unit:
    """Whoever holds it may write its record, and those of its steps, under `guard`.

    name: also of the shelf with its steps. epoch, fingerprint: what its idempotency key is made of. why: it is done.
    record: where its end is written. before: the record that this replaces. forced, given: the demands that it meets.
    steps: once one was called. lost: set once it is known that somebody else does it; whoever goes on is told so.
    mark: names this grant of it among all, mark_before: that of who is lost; "": nobody is. For spans.
    """

    name: str
    record: str
    guard: Guard
    epoch: int
    fingerprint: str
    why: Reason = "first"
    before: Record | None = None
    forced: tuple[str, ...] = ()
    given: Mapping[str, int] = field(default_factory=dict)
    steps: Steps | None = field(default=None, repr=False)
    lost: LeaseLost | None = field(default=None, repr=False)
    mark: str = ""
    mark_before: str = ""

    @property
    def pulse(self) -> str:
        """Where it is said until when it is held."""
        return f"pulse/{self.name}"


def mark_of(book: str, token: int, *, whole: bool = False) -> str:
    """Names one grant of a unit of work among all that a book knows. whole: it came with that of the whole run."""
    return f"{book} {'whole ' if whole else ''}{token}"
