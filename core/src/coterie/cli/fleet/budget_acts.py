"""Settle what is held of a fleet's budgets, for owners that are dead."""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple

from rich.text import Text

from coterie._rules.budget import LARGEST, Allowance, settle
from coterie._rules.decided import Decided, State
from coterie.budget import KEEP_S, units
from coterie.cli.fleet.acting import Done, act, no_such
from coterie.cli.fleet.budgets import HoldRow, allowance_of, holds_of, is_over
from coterie.cli.fleet.drawing import money_or_units
from coterie.cli.fleet.known import Known
from coterie.cli.fleet.reach import Reach
from coterie.cli.fleet.reading import reading
from coterie.cli.fleet.snapshot import names_of
from coterie.errors import Misuse
from coterie.ids import check_name
from coterie.policies import Spend
from coterie.ports import StateStore

__all__ = ["settle_hold"]

_AMOUNT = re.compile(r"[0-9]{1,14}(?:\.[0-9]{1,6})?\Z")


class _Settled(NamedTuple):
    """held: None if there was nothing by that id. holds: what there is besides. over: how far the limit is exceeded."""

    held: int | None
    holds: tuple[HoldRow, ...]
    over: int


def settle_hold(reach: Reach, name: str, hold_id: str, amount: str, *, as_json: bool) -> int:
    """Book `amount` instead of what is held by an id. amount: whole units, or money with its decimal point.

    Raises:
        Misuse: no such budget, nothing held by that id, no such amount; or the window has ended, and how long the next
            one is can only be known by the team.
    """
    check_name(name, "the budget")
    if not _AMOUNT.match(amount):
        raise Misuse(f"{amount[:40]!r} is no amount; give whole units such as 812, or money with its point: 12.50")
    whole = units(amount if "." in amount else int(amount))
    return act(reach, partial(_settle, name=name, hold_id=hold_id, amount=whole), as_json=as_json)


async def _settle(store: StateStore, known: Known, *, name: str, hold_id: str, amount: int) -> Done:
    spend = known.budget(name)
    settled = await store.update(f"budget/{name}", partial(_decide, name, spend, hold_id, amount), keep_s=KEEP_S)
    if settled is None:
        raise no_such("budget", name, store, await names_of(store, "budgets"), then="correct the name")
    if settled.held is None:
        ids = [hold.hold_id for hold in settled.holds]
        then = "correct the id; what is settled cannot be settled again"
        raise no_such(f"reservation in the budget {name!r} by the id", hold_id, store, ids, then=then)
    unit = spend.unit if spend is not None else None
    held, booked = money_or_units(settled.held, unit), money_or_units(amount, unit)
    line = Text(f"{name}: {hold_id} settled at {booked}; {held} were held")
    if settled.over:
        line.append(f"; the limit is exceeded by {money_or_units(settled.over, unit)}", style="bold red")
    document = {
        "budget": name,
        "id": hold_id,
        "held": settled.held,
        "settled": amount,
        "over": settled.over if spend is not None else None,
    }
    return Done(document, [line])


def _decide(  # noqa: PLR0917  # filled in by places, but for the last two
    name: str, spend: Spend | None, hold_id: str, amount: int, state: State | None, now: int
) -> Decided[_Settled | None]:
    """See what is held and settle it, in one decision; None: there is no such budget.

    Raises:
        StateFormatError: it cannot be read, or a newer coterie wrote it.
    """
    if state is None:
        return Decided(state, None)
    with reading(f"budget/{name}"):
        return _settled(name, spend, hold_id, amount, state, now)


def _settled(  # noqa: PLR0917  # as above
    name: str, spend: Spend | None, hold_id: str, amount: int, state: State, now: int
) -> Decided[_Settled | None]:
    if spend is None and is_over(state, now):
        raise Misuse(
            f"the window of the budget {name!r} has ended, and how long the next one is, is not known here; "
            "name the team that has the budget with --team"
        )
    held = {hold.hold_id: hold for hold in holds_of(state, now)}
    # Within a window, or without any, its length does not matter.
    allowance = allowance_of(spend) if spend is not None else Allowance(limit=LARGEST)
    decided = settle(allowance, name, hold_id, amount)(state, now)
    others = tuple(hold for hold in held.values() if hold.hold_id != hold_id)
    before = held[hold_id].amount if decided.result.known and hold_id in held else None
    over = decided.result.over if spend is not None else 0
    return Decided(decided.state, _Settled(before, others, over), decided.signals)
