"""What the work of an agent used: requests, tokens, money; and what tokens cost.

Money is counted in micros: a millionth of whatever unit the prices are in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction

from coterie._json import JsonValue
from coterie.errors import Misuse, PolicyError

__all__ = ["Price", "Usage"]

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used, in whole numbers; usages add up, also by `sum`.

    requests: answers that a service gave. cost_micros: 0 where nobody knows a price.

    Raises:
        Misuse: a number is negative, or not whole.
    """

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            if type(value) is not int or value < 0:
                raise Misuse(f"the usage has {name} {value!r}; give a whole number >= 0")

    def __add__(self, other: object) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_micros + other.cost_micros,
        )

    def __radd__(self, other: object) -> Usage:
        # `sum` begins with 0.
        return self if type(other) is int and other == 0 else NotImplemented

    def __bool__(self) -> bool:
        return any((self.requests, self.input_tokens, self.output_tokens, self.cost_micros))

    def to_dict(self) -> dict[str, int]:
        """The JSON form."""
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_micros": self.cost_micros,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, JsonValue]) -> Usage:
        """Read the form that `to_dict` writes; a part that is missing is 0.

        Raises:
            Misuse: an unknown field, or what is no whole number >= 0.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(document.keys() - known)
        if unknown:
            raise Misuse(f"the usage has the unknown field {unknown[0]!r}; fields: {', '.join(sorted(known))}")
        return cls(**document)  # type: ignore[arg-type]  # __post_init__ checks every value


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs: micros for a million tokens, exact (whole numbers, or Decimal for less than one).

    At 3 dollars a million input tokens and 15 dollars a million output tokens: `Price(3_000_000, 15_000_000)`.

    Raises:
        PolicyError: a price is negative, not finite, or a float, which would not be exact.
    """

    input_micros: int | Decimal
    output_micros: int | Decimal

    def __post_init__(self) -> None:
        for value in (self.input_micros, self.output_micros):
            exact = type(value) is int or (isinstance(value, Decimal) and value.is_finite())
            if not exact or value < 0:
                raise PolicyError(f"a price is {value!r}; give micros for a million tokens, an int or a Decimal >= 0")

    def cost_micros(self, *, input_tokens: int, output_tokens: int) -> int:
        """What so many tokens cost, rounded up to a whole micro: never less than is due."""
        exact = Fraction(self.input_micros) * input_tokens + Fraction(self.output_micros) * output_tokens
        return math.ceil(exact / _MILLION)
