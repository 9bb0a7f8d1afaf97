"""How many retries a fleet may make: a bucket of tokens that successes fill, so that retries never outnumber them.

Source: "Handling Overload", Site Reliability Engineering (Google, 2016); Finagle's RetryBudget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from coterie._json import JsonValue
from coterie._rules.decided import Decided, Operation, State
from coterie._rules.timeline import SECOND, Moment, moment
from coterie.errors import Misuse, PolicyError

__all__ = ["RetryAllowance", "Tokens", "take"]

# Tokens are counted in millionths.
UNIT = 1_000_000
LATEST = 5 * 10**13
MOST = 10**6


# Read by pydantic when a policy is loaded: an unknown field is an error, not a silent no-op.
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAllowance:
    """Retries may be `share` of the successes, and `floor_per_s` a second besides; at most `cap` are saved up.

    A bucket begins full: whoever has just started may retry.

    Raises:
        PolicyError: numbers that allow nothing, or everything.
    """

    __pydantic_config__ = _STRICT

    share: float = 0.1
    floor_per_s: float = 1.0
    cap: int = 100

    def __post_init__(self) -> None:
        fine = all(isinstance(value, (int, float)) and value >= 0 for value in (self.share, self.floor_per_s))
        if not fine or self.share > 1 or self.floor_per_s > 1000 or not (self.share or self.floor_per_s):
            raise PolicyError(f"retries need 0 <= share <= 1 and 0 <= floor_per_s <= 1000, not both 0, got {self!r}")
        if type(self.cap) is not int or not 1 <= self.cap <= MOST:
            raise PolicyError(f"retries need a whole cap from 1 to {MOST}, got {self!r}")


@dataclass(frozen=True, slots=True)
class Tokens:
    """granted: the retry may be made. left: whole tokens that remain."""

    granted: bool
    left: int

    @classmethod
    def read(cls, answer: JsonValue) -> Tokens:
        """From what the rule answers."""
        granted, left = cast("list[int]", answer)
        return cls(granted == 1, left)


def take(allowance: RetryAllowance, *, successes: int = 0, retries: int = 1) -> Operation[Tokens]:
    """Add what `successes` earned, then take a token for each of `retries`: all of them, or none.

    Raises:
        Misuse: a count that is no whole number >= 0.
    """
    for count in (successes, retries):
        if type(count) is not int or not 0 <= count <= 10**9:
            raise Misuse(f"{count!r} successes or retries cannot be; give whole numbers from 0 to 10**9")
    # Rounded down: a bucket that fills too slowly errs on the safe side.
    gain = min(int(allowance.share * UNIT) * successes, allowance.cap * UNIT)
    args = (gain, retries * UNIT, int(allowance.floor_per_s * UNIT), allowance.cap * UNIT)
    return Operation("retry.take", args, _take, Tokens.read)


def _take(  # noqa: PLR0917  # an operation's arguments have places, not names
    state: State | None, now: int, gain: int, cost: int, rate: int, cap: int
) -> Decided[JsonValue]:
    time = moment(state, now)
    kept = cast("dict[str, Any]", state or {"tokens": cap, "filled": time.at})
    tokens, filled = kept["tokens"], kept["filled"]
    if time.at > LATEST:
        past_s = time.at // SECOND
        time, filled = Moment(time.t0_s + past_s, time.at - past_s * SECOND), filled - past_s * SECOND
    # Only whole millionths are added; the time that is not enough for one more is left for the next.
    grown = (time.at - filled) * rate // SECOND
    if grown:
        filled += -(-grown * SECOND // rate)
    tokens += grown + gain
    if tokens >= cap:
        tokens, filled = cap, time.at
    granted = tokens >= cost
    tokens -= cost if granted else 0
    after: State = {**time.stamp(), "tokens": tokens, "filled": filled}
    return Decided(after, [int(granted), tokens // UNIT])
