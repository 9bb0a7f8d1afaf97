"""How much may be used in how much time: quotas, and the decisions of a limiter that keeps to them.

People say rates and bursts; the state counts in microseconds (`_rules/gcra.py`). The translation happens here, once,
rounded so that less is admitted, never more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, cast

from coterie._json import JsonValue
from coterie._rules import gcra
from coterie._rules.decided import Operation
from coterie._rules.timeline import SECOND, micros
from coterie.errors import Misuse, PolicyError

__all__ = ["LONGEST_WAIT_S", "Quota", "Reserved", "cancel", "charges", "pause", "reserve", "settle"]

# Nobody waits longer for a limiter, and no pause is longer: what is further off is refused, and asked for again.
LONGEST_WAIT_S = 86_400.0


# Read by pydantic when a policy is loaded: an unknown field is an error, not a silent no-op.
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """`rate_per_s` units a second on average, at most `burst` at once: in any t seconds at most burst + t * rate_per_s.

    Raises:
        PolicyError: numbers that no limiter could keep to.
    """

    __pydantic_config__ = _STRICT

    rate_per_s: float
    burst: int
    # The whole microseconds, rounded up, in which a full burst is refilled.
    full_us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rate = self.rate_per_s
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
            raise PolicyError(f"a quota needs a finite rate_per_s > 0, got {self!r}")
        if type(self.burst) is not int or self.burst < 1:
            raise PolicyError(f"a quota needs a whole burst >= 1, got {self!r}")
        full_us = -(-self.burst * SECOND // Fraction(rate))
        if full_us > gcra.FARTHEST:
            raise PolicyError(f"{self!r} refills its burst in over 115 days; raise the rate or lower the burst")
        object.__setattr__(self, "rate_per_s", float(rate))
        object.__setattr__(self, "full_us", full_us)

    @classmethod
    def per_window(cls, limit: int, window_s: float, *, burst: int) -> Quota:
        """At most `limit` in *any* `window_s` seconds, `burst` of them at once: the rate is (limit - burst) / window_s.

        A smaller burst uses more of the limit; a burst of a twentieth of it leaves 95 % as the steady rate.
        """
        if type(limit) is not int or type(burst) is not int or not 1 <= burst < limit:
            raise PolicyError(f"a window needs whole numbers 1 <= burst < limit, got {burst!r} and {limit!r}")
        if not 0 < window_s < float("inf"):
            raise PolicyError(f"a window needs a finite window_s > 0, got {window_s!r}")
        return cls(rate_per_s=(limit - burst) / window_s, burst=burst)

    def charge_us(self, cost: int) -> int:
        """The microseconds, rounded up, in which `cost` units are refilled; exactly `full_us` for the burst."""
        return -(-cost * self.full_us // self.burst)


class Reserved(NamedTuple):
    """wait_us: until the caller may go; if not `granted`, how long it would have been, and nothing was changed.

    at_us: when the caller may go, in microseconds since the epoch, by the store's clock.
    held_us: how long the schedule stood still by then, in all; 0 for who goes at once. ticket: what `cancel` needs.
    """

    wait_us: int
    number: int
    at_us: int
    held_us: int
    ticket: JsonValue

    @property
    def granted(self) -> bool:
        """Whether the caller has a reservation."""
        return self.number > 0

    @classmethod
    def read(cls, answer: JsonValue) -> Reserved:
        """From what the rule, or its twin, answers."""
        told = cast("list[int]", answer)
        at_us = told[2] * SECOND + told[3] if len(told) > 2 else 0
        # Half the price of calling the class: one is made for every call that is let through.
        return tuple.__new__(cls, (told[0], told[1], at_us, told[5] if len(told) > 5 else 0, answer))


def charges(quotas: Mapping[str, Quota], costs: Mapping[str, int]) -> dict[str, int]:
    """What `costs` come to, in microseconds by dimension. A cost of 0 takes nothing.

    Raises:
        Misuse: an unknown dimension, a cost that is not a whole number >= 0, or one above the burst; nothing is asked
            for at all.
    """
    found: dict[str, int] = {}
    for name, cost in costs.items():
        quota = quotas.get(name)
        if quota is None:
            raise Misuse(f"the limiter has no dimension {name!r}; it has: {', '.join(sorted(quotas))}")
        if type(cost) is not int or cost < 0:
            raise Misuse(f"{cost!r} {name} cannot be taken; give a whole number >= 0")
        if cost > quota.burst:
            raise Misuse(
                f"{cost} {name} at once are more than the burst of {quota.burst} and would never be admitted; "
                "raise the burst or ask for less"
            )
        if cost:
            found[name] = quota.charge_us(cost)
    if not found:
        raise Misuse(f"the costs {dict(costs)!r} take nothing; ask for at least 1 of something")
    return found


def reserve(quotas: Mapping[str, Quota], costs: Mapping[str, int], *, max_wait_s: float) -> Operation[Reserved]:
    """Take all costs at once, for the first instant that has room for them and is not before an earlier caller's.

    Raises:
        Misuse: as `charges`; a wait that is no number >= 0.
    """
    taken = charges(quotas, costs)
    if not max_wait_s >= 0:
        raise Misuse(f"max_wait_s is {max_wait_s!r}; give seconds >= 0")
    takes: JsonValue = {name: [charge, quotas[name].full_us] for name, charge in taken.items()}
    wait_us = micros(min(max_wait_s, LONGEST_WAIT_S))
    return Operation("quota.reserve", (takes, wait_us), gcra.reserve, Reserved.read)


def settle(
    quotas: Mapping[str, Quota], number: int, estimated: Mapping[str, int], actual: Mapping[str, int]
) -> Operation[bool] | None:
    """Book the difference between what was reserved and what was used; None if there is none."""
    changes: dict[str, JsonValue] = {}
    for name, used in actual.items():
        quota = quotas.get(name)
        if quota is None or type(used) is not int or used < 0:
            raise Misuse(f"{used!r} {name!r} cannot have been used; give a whole number >= 0 of {sorted(quotas)}")
        change = quota.charge_us(used) - quota.charge_us(estimated.get(name, 0))
        if change:
            changes[name] = min(change, gcra.FARTHEST)
    return Operation("quota.settle", (number, changes), gcra.settle, bool) if changes else None


def cancel(reservations: Sequence[tuple[Reserved, Mapping[str, int]]]) -> Operation[None]:
    """Take back reservations that were not used, each with its charges as `charges` gave them."""
    tickets: JsonValue = [[reserved.ticket, dict(taken)] for reserved, taken in reservations]
    return Operation("quota.cancel", (tickets,), gcra.cancel, lambda _: None)


def pause(name: str, pause_s: float) -> Operation[int]:
    """Let nobody of the limiter `name` go for so long; answers how long it stood still in all, in microseconds."""
    if not pause_s >= 0:
        raise Misuse(f"a pause of {pause_s!r} s is none; give seconds >= 0")
    pause_us = micros(min(pause_s, LONGEST_WAIT_S))
    return Operation("quota.pause", (pause_us, f"limit/{name}"), gcra.pause, lambda held: cast("int", held))
