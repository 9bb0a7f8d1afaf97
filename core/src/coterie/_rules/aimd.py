"""How many calls at once an agent bears, found out: one more when as many were answered, a tenth fewer on an overload.

Of the calls that were under way together only the first overload lowers the limit; those that fail with it say the
same thing again. A caller that does not use the limit learns nothing about it, so a success does not count then.
One more for each success would double the limit in the time of one call: where an overload shows late, as a time-out,
it would be far too high by then.

Source: Chiu and Jain, 1989; RFC 5681, 3.1, for the count; Netflix' concurrency-limits, AIMDLimit, for the use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

from coterie.errors import PolicyError

__all__ = ["Aimd", "AimdTerms", "Concurrency", "Outcome", "adjust", "begin"]

Outcome = Literal["success", "overload", "ignored"]


# Read by pydantic when a policy is loaded: an unknown field is an error, not a silent no-op.
_STRICT = {"extra": "forbid"}
_MILLION = 1_000_000


class AimdTerms(TypedDict):
    """An `Aimd` in integers: the back-off in millionths."""

    minimum: int
    maximum: int
    start: int
    backoff: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimd:
    """Between `minimum` and `maximum` calls at once, beginning with `start`; an overload leaves `backoff` of the limit.

    Raises:
        PolicyError: bounds that cross, or a back-off that does not lower the limit.
    """

    __pydantic_config__ = _STRICT

    minimum: int = 1
    maximum: int = 200
    start: int = 10
    backoff: float = 0.9

    def __post_init__(self) -> None:
        whole = all(type(value) is int for value in (self.minimum, self.maximum, self.start))
        if not whole or not 1 <= self.minimum <= self.start <= self.maximum <= 10**9:
            raise PolicyError(f"a concurrency needs whole numbers 1 <= minimum <= start <= maximum, got {self!r}")
        if not 0.5 <= self.backoff < 1:
            raise PolicyError(f"a concurrency needs 0.5 <= backoff < 1, got {self!r}")

    def terms(self) -> AimdTerms:
        """What a rule reads."""
        millionths = min(round(self.backoff * _MILLION), _MILLION - 1)
        return AimdTerms(minimum=self.minimum, maximum=self.maximum, start=self.start, backoff=millionths)

    @classmethod
    def of(cls, terms: AimdTerms) -> Aimd:
        """The policy that the terms are of."""
        return cls(
            minimum=terms["minimum"],
            maximum=terms["maximum"],
            start=terms["start"],
            backoff=terms["backoff"] / _MILLION,
        )


class Concurrency(NamedTuple):
    """epoch: grows with each lowering of the limit; a call keeps the one in which it started.

    counted: successes that count towards the next raise, since the limit was changed last; fewer than the limit.
    """

    limit: int
    epoch: int
    counted: int = 0


def begin(policy: Aimd) -> Concurrency:
    """Before the first call."""
    return Concurrency(policy.start, 0)


def adjust(policy: Aimd, now: Concurrency, *, in_flight: int, epoch: int, outcome: Outcome) -> Concurrency:
    """After a call that started in `epoch` has ended. in_flight: calls under way, this one included.

    Time-outs count as overload; failures that say nothing of the load are "ignored". An overload begins the count anew,
    also where the limit is as low as it may be.
    """
    if outcome == "overload":
        if epoch < now.epoch:
            return now
        fewer = min(now.limit * policy.terms()["backoff"] // _MILLION, now.limit - 1)
        return Concurrency(max(policy.minimum, fewer), now.epoch + 1)
    if outcome == "success" and in_flight * 2 >= now.limit and now.limit < policy.maximum:
        if now.counted + 1 < now.limit:
            return now._replace(counted=now.counted + 1)
        return now._replace(limit=now.limit + 1, counted=0)
    return now
