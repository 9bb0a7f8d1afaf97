"""What may be spent: reservations of an upper bound, and what was really used, against a limit.

Amounts are whole numbers of whatever the budget counts: tokens, or millionths of a currency. As long as every caller
stays within what it reserved, what is spent and what is reserved never exceed the limit together, not by one unit.

A reservation has an id, by which it is settled once, whoever does it, and a deadline. Past it its owner counts as
dead, and the whole amount as spent, until somebody settles it after all. When a window ends, what is reserved beyond
its end goes on counting in the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from coterie._json import JsonValue
from coterie._rules.decided import Decided, Operation, Signal, State
from coterie._rules.timeline import SECOND, Moment, micros, moment
from coterie.errors import Misuse, PolicyError

__all__ = ["LARGEST", "Allowance", "Booked", "Settled", "Window", "look", "reserve", "settle", "window_end_s"]

Window: TypeAlias = Literal["hour", "day", "month"] | int

# Of one amount: stores keep numbers of 14 digits, and a limit must hold several.
LARGEST = 10**13
MOST = 10**14 - 1
# After so long without a settlement an abandoned reservation is spent for good, and its id forgotten.
FORGOTTEN = 86_400 * SECOND
# How soon to ask again when only reservations stand in the way: any of them may be settled for less at any time.
RECHECK = SECOND
LATEST = 5 * 10**13
_LENGTHS = {"hour": 3600, "day": 86_400}


# Read by pydantic when a policy is loaded: an unknown field is an error, not a silent no-op.
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """At most `limit` in all, or in each window: the hour, day or month (UTC), or so many seconds since the epoch.

    Raises:
        PolicyError: a limit or window that cannot be kept.
    """

    __pydantic_config__ = _STRICT

    limit: int
    window: Window | None = None

    def __post_init__(self) -> None:
        if type(self.limit) is not int or not 0 <= self.limit <= LARGEST:
            raise PolicyError(f"a budget's limit is a whole number of units up to {LARGEST}, got {self.limit!r}")
        window = self.window
        if window is None or (isinstance(window, str) and window in (*_LENGTHS, "month")):
            return
        if type(window) is not int or not 1 <= window <= 366 * 86_400:
            raise PolicyError(f"a window is 'hour', 'day', 'month' or whole seconds up to a year, got {window!r}")


def window_end_s(window: Window, now_s: int) -> int:
    """The second since the epoch at which the window of `now_s` ends."""
    if window != "month":
        length = _LENGTHS[window] if isinstance(window, str) else window
        return now_s - now_s % length + length
    # Months begin in March here, so that the day that varies is the last of the year (Hinnant, "chrono dates").
    days = now_s // 86_400 + 719_468
    era, of_era = divmod(days, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    month = (5 * (of_era - (365 * year + year // 4 - year // 100)) + 2) // 153
    years, following = (era * 400 + year, month + 1) if month < 11 else (era * 400 + year + 1, 0)
    begun = years * 365 + years // 4 - years // 100 + years // 400 + (153 * following + 2) // 5 - 719_468
    return begun * 86_400


class Hold(NamedTuple):
    """A reservation; deadline: microseconds since the state's beginning."""

    amount: int
    deadline: int


@dataclass(frozen=True, slots=True)
class Book:
    """What a budget's key holds. ends_s: when the window ends, in seconds since the epoch; 0 without windows."""

    time: Moment
    ends_s: int
    spent: int
    holds: Mapping[str, Hold]

    @property
    def held(self) -> int:
        """What is reserved, dead owners included."""
        return sum(hold.amount for hold in self.holds.values())

    @property
    def lost(self) -> int:
        """What is reserved by owners that count as dead."""
        return sum(hold.amount for hold in self.holds.values() if hold.deadline <= self.time.at)

    def state(self) -> State:
        """As it is stored."""
        holds: dict[str, JsonValue] = {name: list(hold) for name, hold in self.holds.items()}
        return {**self.time.stamp(), "ends": self.ends_s, "spent": self.spent, "holds": holds}


@dataclass(frozen=True, slots=True)
class Booked:
    """What became of a request. wait_us: after refusal, when to ask again; 0 if that is useless.

    spent: settled, or held by owners that count as dead. held: reserved by others.
    """

    granted: bool
    wait_us: int
    spent: int
    held: int

    @classmethod
    def read(cls, answer: JsonValue) -> Booked:
        """From what the rule answers."""
        granted, wait_us, spent, held = cast("list[int]", answer)
        return cls(granted == 1, wait_us, spent, held)


@dataclass(frozen=True, slots=True)
class Settled:
    """known: there was such a reservation. over: by how much all that is booked exceeds the limit, or 0."""

    known: bool
    over: int

    @classmethod
    def read(cls, answer: JsonValue) -> Settled:
        """From what the rule answers."""
        known, over = cast("list[int]", answer)
        return cls(known == 1, over)


def reserve(allowance: Allowance, hold_id: str, amount: int, *, hold_s: float) -> Operation[Booked]:
    """Hold `amount` for `hold_s` seconds under an id of the caller's own; asked twice, it is held once.

    Raises:
        Misuse: an amount that is no whole number >= 0, or more than a window will ever have.
    """
    _check(amount)
    if allowance.window is not None and amount > allowance.limit:
        raise Misuse(
            f"{amount} units at once are more than the {allowance.limit} of a window and would never be granted; "
            "raise the limit or reserve less"
        )
    if not 0 < hold_s <= 30 * 86_400:
        raise Misuse(f"a reservation for {hold_s!r} s cannot be; give up to 30 days")
    args = (allowance.limit, allowance.window, hold_id, amount, micros(hold_s))
    return Operation("budget.reserve", args, _reserve, Booked.read)


def settle(allowance: Allowance, name: str, hold_id: str, amount: int) -> Operation[Settled]:
    """Spend `amount` instead of what was held, and give the rest back. Once: an unknown id changes nothing.

    More than was held is booked all the same; where it exceeds the limit a signal says so.
    """
    _check(amount)
    args = (allowance.limit, allowance.window, hold_id, amount, f"budget/{name}")
    return Operation("budget.settle", args, _settle, Settled.read)


def look(allowance: Allowance, state: State | None, now: int) -> Booked:
    """What holds at `now`; wait_us: until the window ends, or 0 without windows."""
    book = _opened(state, now, allowance.window)
    wait_us = book.ends_s * SECOND - now if allowance.window is not None else 0
    return Booked(granted=True, wait_us=wait_us, spent=book.spent + book.lost, held=book.held - book.lost)


def _check(amount: int) -> None:
    if type(amount) is not int or not 0 <= amount <= LARGEST:
        raise Misuse(f"{amount!r} units cannot be booked; give a whole number from 0 to {LARGEST}")


def _reserve(  # noqa: PLR0917  # an operation's arguments have places, not names
    state: State | None, now: int, limit: int, window: Window | None, hold_id: str, amount: int, hold_us: int
) -> Decided[JsonValue]:
    book = _opened(state, now, window)
    gone = book.spent + book.lost
    held = book.held - book.lost
    if hold_id in book.holds:
        return Decided(state, [1, 0, gone, held])
    if gone + held + amount <= limit:
        holds = {**book.holds, hold_id: Hold(amount, book.time.at + hold_us)}
        return Decided(replace(book, holds=holds).state(), [1, 0, gone, held + amount])
    # Where the clock was set back, time must go on from here, or a state that refuses would never see it pass.
    moved = state is not None and (state["t0"] != book.time.t0_s or state["ends"] != book.ends_s)
    after = book.state() if moved else state
    never = gone + amount > limit
    if window is None:
        return Decided(after, [0, 0 if never else RECHECK, gone, held])
    rest_us = book.ends_s * SECOND - now
    return Decided(after, [0, rest_us if never else min(RECHECK, rest_us), gone, held])


def _settle(  # noqa: PLR0917  # as above
    state: State | None, now: int, limit: int, window: Window | None, hold_id: str, amount: int, channel: str
) -> Decided[JsonValue]:
    book = _opened(state, now, window)
    hold = book.holds.get(hold_id)
    if hold is None:
        return Decided(state, [0, max(book.spent + book.held - limit, 0)])
    holds = {name: other for name, other in book.holds.items() if name != hold_id}
    after = replace(book, spent=min(book.spent + amount, MOST), holds=holds)
    over = max(after.spent + after.held - limit, 0)
    signals: tuple[Signal, ...] = ()
    if over and amount > hold.amount:
        told = {"event": "budget.overspent", "id": hold_id, "held": hold.amount, "spent": amount, "over": over}
        signals = (Signal(channel, json.dumps(told)),)
    return Decided(after.state(), [1, over], signals)


def _opened(state: State | None, now: int, window: Window | None) -> Book:
    """The book as it stands at `now`: in the right window, without what may be forgotten."""
    time = moment(state, now)
    ends_s = 0 if window is None else window_end_s(window, now // SECOND)
    if state is None:
        return Book(time, ends_s, 0, {})
    kept = cast("dict[str, Any]", state)
    holds = {name: Hold(*hold) for name, hold in kept["holds"].items()}
    book = _begun_anew(Book(time, kept["ends"], kept["spent"], holds))
    if window is not None:
        book = _in_window(book, window, now, ends_s)
    forgotten = {name: hold for name, hold in book.holds.items() if hold.deadline + FORGOTTEN <= book.time.at}
    if not forgotten:
        return book
    live = {name: hold for name, hold in book.holds.items() if name not in forgotten}
    spent = min(book.spent + sum(hold.amount for hold in forgotten.values()), MOST)
    return replace(book, spent=spent, holds=live)


def _in_window(book: Book, window: Window, now: int, ends_s: int) -> Book:
    if now >= book.ends_s * SECOND:
        over = (book.ends_s - book.time.t0_s) * SECOND
        holds = {name: hold for name, hold in book.holds.items() if hold.deadline > over}
        return replace(book, ends_s=ends_s, spent=0, holds=holds)
    if book.ends_s > window_end_s(window, ends_s):
        # The clock had leapt ahead by more than a window, and is back: what was spent belongs to this one.
        return replace(book, ends_s=ends_s)
    # Also where the clock went back over the boundary: a window that has ended stays so.
    return book


def _begun_anew(book: Book) -> Book:
    if book.time.at <= LATEST:
        return book
    past_s = book.time.at // SECOND
    time = Moment(book.time.t0_s + past_s, book.time.at - past_s * SECOND)
    holds = {name: hold._replace(deadline=hold.deadline - past_s * SECOND) for name, hold in book.holds.items()}
    return replace(book, time=time, holds=holds)
