"""A budget's stored state, as people are shown it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from coterie._rules.budget import FORGOTTEN, LARGEST, Allowance, look
from coterie._rules.decided import State
from coterie._rules.timeline import SECOND, moment
from coterie.budget import Unit
from coterie.cli.fleet.reading import reading
from coterie.cli.fleet.times import instant
from coterie.policies import Spend

__all__ = ["BudgetRow", "HoldRow", "allowance_of", "budget_row", "holds_of", "is_over"]

# How the name of a single run's budget ends; see `coterie.policies.run_budget`.
_RUN = re.compile(r"[0-9a-f]{16}\Z")
# Stands for a window whose length is not known: as long as any may be, so that none that is stored ends early.
_LONGEST_WINDOW_S = 366 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRow:
    """What somebody reserved, in whole units. until_us: the owner counts as dead from then on."""

    hold_id: str
    amount: int
    until_us: int
    dead: bool

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"id": self.hold_id, "amount": self.amount, "until": instant(self.until_us)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow:
    """One budget, in whole units. spent: settled, or held by owners that count as dead. held: by others.

    limit: None without the policy. windowed: whether its windows end. ends_us: when this one does, in microseconds
    since the epoch; None without windows, and where one has ended and how long the next is, is not known.
    dead, living: what is held, by owners that count as dead, and by others.
    """

    name: str
    spent: int
    held: int
    limit: int | None
    unit: Unit | None
    windowed: bool
    ends_us: int | None
    dead: tuple[HoldRow, ...]
    living: tuple[HoldRow, ...]

    @property
    def of_run(self) -> str | None:
        """The policy's name for it, where it is the budget of a single run."""
        base, _, run = self.name.rpartition("-")
        return base if base and _RUN.match(run) else None

    @property
    def left(self) -> int | None:
        """What may still be reserved; None where the limit is not known."""
        return None if self.limit is None else max(self.limit - self.spent - self.held, 0)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "spent": self.spent,
            "held": self.held,
            "limit": self.limit,
            "left": self.left,
            "windowed": self.windowed,
            "window_ends": instant(self.ends_us),
            "dead_holds": [hold.document() for hold in self.dead],
            "living_holds": [hold.document() for hold in self.living],
        }


def allowance_of(spend: Spend) -> Allowance:
    """What the rule needs to know of a budget."""
    return Allowance(limit=spend.most, window=spend.window)


def is_over(state: State, now: int) -> bool:
    """Whether the window that a state was written in has ended."""
    ends_s = cast("int", state["ends"])
    return 0 < ends_s * SECOND <= now


def budget_row(name: str, spend: Spend | None, state: State | None, now: int) -> BudgetRow:
    """What its state says at `now`.

    Raises:
        StateFormatError: it cannot be read, or a newer coterie wrote it.
    """
    with reading(f"budget/{name}"):
        return _row(name, spend, state, now)


def _row(name: str, spend: Spend | None, state: State | None, now: int) -> BudgetRow:
    if spend is not None:
        allowance = allowance_of(spend)
    else:
        windowed = state is not None and state["ends"] != 0
        allowance = Allowance(limit=LARGEST, window=_LONGEST_WINDOW_S if windowed else None)
    booked = look(allowance, state, now)
    ends_us = now + booked.wait_us if allowance.window is not None else None
    if spend is None and state is not None and is_over(state, now):
        ends_us = None
    holds = holds_of(state, now)
    return BudgetRow(
        name=name,
        spent=booked.spent,
        held=booked.held,
        limit=spend.most if spend is not None else None,
        unit=spend.unit if spend is not None else None,
        windowed=allowance.window is not None,
        ends_us=ends_us,
        dead=tuple(hold for hold in holds if hold.dead),
        living=tuple(hold for hold in holds if not hold.dead),
    )


def holds_of(state: State | None, now: int) -> list[HoldRow]:
    """Those that can still be settled, the oldest first."""
    if state is None:
        return []
    at = moment(state, now).at
    over = is_over(state, now)
    ended_at = at + cast("int", state["ends"]) * SECOND - now
    found = []
    for hold_id, (amount, deadline) in cast("Mapping[str, tuple[int, int]]", state["holds"]).items():
        if deadline + FORGOTTEN > at and not (over and deadline <= ended_at):
            found.append(HoldRow(hold_id=hold_id, amount=amount, until_us=now + deadline - at, dead=deadline <= at))
    return sorted(found, key=lambda hold: (hold.until_us, hold.hold_id))
