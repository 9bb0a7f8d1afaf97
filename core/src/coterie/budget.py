"""Spend no more than was allowed, in the whole fleet: reserve an upper bound, then settle what it came to."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal, TypeAlias

from coterie._rules import budget as rule
from coterie._rules.budget import Allowance, Booked, Settled, Window
from coterie._rules.timeline import SECOND
from coterie.clock import Clock
from coterie.errors import BudgetExhausted, BudgetSpent, CoterieError, Misuse, Unavailable
from coterie.errors.root import in_words
from coterie.events import Event, Listener
from coterie.ids import check_name
from coterie.ports import StateStore
from coterie.shared_state import SharedState, StoreFailure
from coterie.work import Work

__all__ = ["Amount", "Budget", "BudgetChain", "BudgetStatus", "Spending", "Unit", "units", "written"]

_log = logging.getLogger("coterie.budget")

# Whole units as an int: tokens, or millionths of a currency. Of the currency itself as a Decimal or a text: "12.50".
Amount: TypeAlias = int | str | Decimal

# What is counted; of money, millionths.
Unit: TypeAlias = Literal["tokens", "money"]

SETTLE_S = 5.0
# A settlement that the store did not take is tried again after so many seconds each, behind the caller's back.
SETTLE_AGAIN_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
HOLD_S = 3600.0
# A budget that nobody touched for so long is forgotten: longer than any window.
KEEP_S = 400 * 86_400.0
# The same for the budget of a single run, of which there may be thousands.
RUN_KEEP_S = 60 * 86_400.0
MILLION = 1_000_000


def units(amount: Amount) -> int:
    """The whole units of an amount; of a currency's amount its millionths, rounded up.

    Raises:
        Misuse: a float, which would not be exact, or what is no amount.
    """
    if type(amount) is int:
        return amount
    if isinstance(amount, (str, Decimal)):
        try:
            exact = Decimal(amount)
            if exact.is_finite():
                return math.ceil(exact * MILLION)
        except InvalidOperation:
            pass
    raise Misuse(
        f"{amount!r} is no exact amount; give whole units (tokens, millionths) as an int, or money as a Decimal or "
        "a text such as '12.50'"
    )


def written(amount: int, unit: Unit | None) -> str:
    """`1,200`, or `12.50` of money."""
    if unit != "money":
        return f"{amount:,}"
    whole, rest = divmod(amount, MILLION)
    digits = f"{rest:06d}".rstrip("0")
    return f"{whole:,}.{digits:0<2}"


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """In whole units. spent: settled, or reserved by owners that count as dead. held: reserved by others.

    ends_s: seconds until the window ends; None without windows.
    """

    name: str
    limit: int
    spent: int
    held: int
    ends_s: float | None

    @property
    def left(self) -> int:
        """What may still be reserved."""
        return max(self.limit - self.spent - self.held, 0)


class Spending:
    """A reservation under way. id: settles it later too, in any process, by `Budget.settle`."""

    __slots__ = ("_book", "_reported", "held", "id")

    def __init__(self, book: Budget | BudgetChain, hold_id: str, held: int) -> None:
        self._book = book
        self._reported: int | None = None
        self.id = hold_id
        self.held = held

    def report(self, amount: Amount) -> None:
        """Add to what was spent; as soon as it is known, also when the work then fails. 0: nothing was."""
        self._reported = (self._reported or 0) + units(amount)

    @property
    def spent(self) -> int:
        """What will be settled: all that was reported, or all that was held where nothing was."""
        return self.held if self._reported is None else self._reported

    async def settle(self) -> None:
        """Book what was spent and give the rest back.

        A store that fails is asked again for half a minute, while the caller goes on. Then that is logged, and the
        whole amount stays charged.
        """
        await self._book._settle_within(self)  # noqa: SLF001  # one class in two halves


class Budget:
    """One budget, for one event loop at a time. All that give a store and the same name share it.

    limit: see `Amount`; of one budget, give all amounts of one kind.
    unit: what is counted, for messages; by default money if the limit is a text or Decimal.
    window: "hour", "day", "month" (UTC), or so many seconds; each has the whole limit. None: once and for all.
    hold_s: how long a reservation is its owner's; past it the owner counts as dead and the whole amount as spent, until
        it is settled after all.
    on_store_failure: while the store does not answer, "fail_closed" raises `Unavailable`, "fail_open" counts in this
        process alone.
    on_event: told of `budget.overspent`, when a caller spent more than it reserved and the limit was exceeded by it;
        of `state.store_failed` and `state.store_recovered`.
    keep_s: a budget that nobody touches for so long begins anew.

    Raises:
        Misuse: names or numbers that cannot work, or a store that is none.
    """

    def __init__(
        self,
        name: str,
        limit: Amount,
        *,
        window: Window | None = None,
        store: StateStore | None = None,
        hold_s: float = HOLD_S,
        keep_s: float = KEEP_S,
        unit: Unit | None = None,
        on_store_failure: StoreFailure = "fail_closed",
        on_event: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = check_name(name, "the budget")
        self.allowance = Allowance(limit=units(limit), window=window)
        self._unit: Unit | None = unit or ("money" if isinstance(limit, (str, Decimal)) else None)
        self._hold_s = hold_s
        self._on_event = on_event
        self._shared = SharedState(
            f"budget/{name}",
            store,
            keep_s=keep_s,
            on_store_failure=on_store_failure,
            on_event=on_event,
            clock=clock,
        )
        self._work = Work()
        self._hurry: set[asyncio.Event] = set()

    def __repr__(self) -> str:
        return f"Budget({self.name!r}, limit={self.allowance.limit}, window={self.allowance.window!r})"

    @asynccontextmanager
    async def reserve(self, upper_bound: Amount, *, hold_s: float | None = None) -> AsyncIterator[Spending]:
        """Hold an upper bound for the body, then book what it reported; all of it where it reported nothing.

        Raises, on entering: as `hold`.
        """
        spending = await self.hold(upper_bound, hold_s=hold_s)
        try:
            yield spending
        finally:
            await spending.settle()

    async def hold(self, upper_bound: Amount, *, hold_s: float | None = None, hold_id: str | None = None) -> Spending:
        """Hold an upper bound until it is settled. hold_id: of the caller's own; held twice, it is held once.

        Raises:
            BudgetSpent: the window is used up, or what others hold stands in the way; see `.retry_after_s`.
            BudgetExhausted: a budget without windows is used up.
            Misuse: the amount is none, or more than a window will ever have.
            Unavailable: the store failed, and `on_store_failure` is "fail_closed".

        Cancelled, it leaves nothing held.
        """
        amount = units(upper_bound)
        hold_id = os.urandom(8).hex() if hold_id is None else hold_id
        operation = rule.reserve(self.allowance, hold_id, amount, hold_s=self._hold_s if hold_s is None else hold_s)
        asking = self._work.start(self._shared.update(operation))
        try:
            booked: Booked = await asyncio.shield(asking)
        except BaseException as error:  # raised again: whether it is held by now is not known, so it is undone
            if isinstance(error, (asyncio.CancelledError, Unavailable)):
                self._work.start(self._undo(asking, hold_id))
            raise
        if not booked.granted:
            raise self._refusal(amount, booked)
        return Spending(self, hold_id, amount)

    async def settle(self, hold_id: str, amount: Amount) -> bool:
        """Book what a reservation came to, whoever made it; whether there was one. Once: a second time is no error."""
        settled: Settled = await self._shared.update(rule.settle(self.allowance, self.name, hold_id, units(amount)))
        if settled.known and settled.over:
            over, limit = (written(amount, self._unit) for amount in (settled.over, self.allowance.limit))
            _log.warning("budget.overspent %s: %s over the limit of %s", self.name, over, limit)
            self._tell(hold_id, settled.over)
        return settled.known

    async def status(self) -> BudgetStatus:
        """What holds now."""
        state, now = await self._shared.read()
        seen = rule.look(self.allowance, state, now)
        ends_s = None if self.allowance.window is None else seen.wait_us / SECOND
        return BudgetStatus(self.name, self.allowance.limit, seen.spent, seen.held, ends_s)

    async def aclose(self) -> None:
        """Wait, within a bound, for what is being settled; safe to call twice."""
        for waiting in self._hurry:
            waiting.set()
        await self._work.aclose(SETTLE_S)

    async def _undo(self, asking: asyncio.Task[Booked], hold_id: str) -> None:
        await asyncio.wait({asking})
        if not asking.cancelled() and asking.exception() is None and not asking.result().granted:
            return
        await self._settle_logged(hold_id, 0)

    async def _settle_within(self, spending: Spending) -> None:
        await self._work.within(SETTLE_S, self._settle_logged(spending.id, spending.spent))

    async def _settle_logged(self, hold_id: str, amount: int) -> None:
        try:
            await self.settle(hold_id, amount)
        except Unavailable as error:
            _log.info("budget.settles_later %s: %r at %d: %s", self.name, hold_id, amount, error)
            self._work.start(self._settle_later(hold_id, amount, error))

    async def _settle_later(self, hold_id: str, amount: int, error: Unavailable) -> None:
        """Try again for a while, and once more at the end of all; what is settled already stays as it is."""
        hurry = asyncio.Event()
        self._hurry.add(hurry)
        try:
            for wait_s in SETTLE_AGAIN_S:
                last = await _is_set(hurry, wait_s)
                try:
                    await self.settle(hold_id, amount)
                except Unavailable as again:
                    error = again
                else:
                    return
                if last:
                    break
            self._not_settled(hold_id, amount, error)
        except asyncio.CancelledError:
            self._not_settled(hold_id, amount, error)
            raise
        finally:
            self._hurry.discard(hurry)

    def _not_settled(self, hold_id: str, amount: int, error: Unavailable) -> None:
        _log.warning("budget.not_settled %s: settle %r at %d by hand: %s", self.name, hold_id, amount, error)

    def _refusal(self, amount: int, booked: Booked) -> CoterieError:
        spent, held, limit, asked = (
            written(each, self._unit) for each in (booked.spent, booked.held, self.allowance.limit, amount)
        )
        units_more = f"{asked} more" if self._unit == "money" else f"{asked} {self._unit or 'units'} more"
        has = f"{spent} spent and {held} held of {limit}"
        if not booked.wait_us:
            return BudgetExhausted(f"the budget {self.name!r} cannot hold {units_more}: {has}; raise its limit")
        wait_s = booked.wait_us / SECOND
        return BudgetSpent(
            f"the budget {self.name!r} cannot hold {units_more} now: {has}; try again in {in_words(wait_s)}",
            retry_after_s=wait_s,
        )

    def _tell(self, hold_id: str, over: int) -> None:
        if self._on_event is None:
            return
        fields = {"budget": self.name, "id": hold_id, "over": over, "limit": self.allowance.limit}
        try:
            self._on_event(Event("budget.overspent", "", None, fields))
        except Exception:  # noqa: BLE001  # logged: what a listener does wrong must not undo a settlement
            _log.exception("budget.listener_failed %s", self.name)


async def _is_set(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether it is set within so many seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False


class BudgetChain:
    """Several budgets that one amount is held in, all or none: of the run, the team, the day.

    They are asked in the order given; what was held is undone on refusal. All must count the same kind of units.

    Raises:
        Misuse: no budget, or one twice.
    """

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self.budgets = tuple(budgets)
        names = [budget.name for budget in self.budgets]
        if not names or len(set(names)) < len(names):
            raise Misuse(f"a chain needs budgets, each once, got {names!r}")
        self._work = Work()

    @asynccontextmanager
    async def reserve(self, upper_bound: Amount, *, hold_s: float | None = None) -> AsyncIterator[Spending]:
        """As `Budget.reserve`, in every budget."""
        spending = await self.hold(upper_bound, hold_s=hold_s)
        try:
            yield spending
        finally:
            await spending.settle()

    async def hold(self, upper_bound: Amount, *, hold_s: float | None = None, hold_id: str | None = None) -> Spending:
        """As `Budget.hold`, in every budget; raises what the first that refuses raises."""
        amount = units(upper_bound)
        hold_id = os.urandom(8).hex() if hold_id is None else hold_id
        held: list[Budget] = []
        try:
            for budget in self.budgets:
                await budget.hold(amount, hold_s=hold_s, hold_id=hold_id)
                held.append(budget)
        except BaseException:  # raised again: what was held so far is nobody's
            await self._work.within(SETTLE_S, self._settle_all(list(reversed(held)), hold_id, 0))
            raise
        return Spending(self, hold_id, amount)

    async def settle(self, hold_id: str, amount: Amount) -> bool:
        """As `Budget.settle`, in every budget; whether any had such a reservation."""
        known = [await budget.settle(hold_id, amount) for budget in self.budgets]
        return any(known)

    async def aclose(self) -> None:
        """Wait, within a bound, for what is being settled; the budgets are closed by their owners."""
        await self._work.aclose(SETTLE_S)

    async def _settle_within(self, spending: Spending) -> None:
        await self._work.within(SETTLE_S, self._settle_all(self.budgets, spending.id, spending.spent))

    @staticmethod
    async def _settle_all(budgets: Sequence[Budget], hold_id: str, amount: int) -> None:
        await asyncio.gather(*(budget._settle_logged(hold_id, amount) for budget in budgets))  # noqa: SLF001  # of this module
