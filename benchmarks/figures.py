"""What is measured, and what is said of it: interleaved rounds, medians, ratios within a round, budgets.

Machines are noisy and shared: a figure alone says little, and two that were taken at different times say nothing
together. So whatever is compared runs in turn, in every round, and a ratio is the median of the rounds' own ratios.
"""

from __future__ import annotations

__all__ = ["Budget", "Figure", "Rounds", "at_least", "at_most", "percentile"]

import gc
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

# One round of one subject: what it comes to, such as seconds a call.
Round = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Budget:
    """A bound for the ratio, or, where there is none, for the value itself."""

    bound: float
    at_least: bool

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"

    def holds(self, measured: float) -> bool:
        """Whether a figure keeps to it."""
        return measured >= self.bound if self.at_least else measured <= self.bound


def at_most(bound: float) -> Budget:
    return Budget(bound, at_least=False)


def at_least(bound: float) -> Budget:
    return Budget(bound, at_least=True)


@dataclass(frozen=True)
class Figure:
    """One line of the table. ratio: to `base`, of the same section. samples: of the value, one a round."""

    section: str
    name: str
    value: float
    unit: str
    ratio: float | None = None
    base: str = ""
    budget: Budget | None = None
    note: str = ""
    samples: Sequence[float] = field(default_factory=list, repr=False)

    @property
    def verdict(self) -> str:
        """`holds`, `misses`, or nothing where there is no budget."""
        if self.budget is None:
            return ""
        return "holds" if self.budget.holds(self.value if self.ratio is None else self.ratio) else "misses"

    def line(self) -> str:
        """As the table shows it."""
        ratio = "" if self.ratio is None else f"{self.ratio:8.2f} x"
        budget = "" if self.budget is None else f"{self.budget!s:>8} {self.verdict}"
        note = f"  ({self.note})" if self.note else ""
        return f"  {self.name:<44} {self.value:>12,.{_digits(self.value)}f} {self.unit:<10} {ratio:>10} {budget}{note}"

    def record(self) -> dict[str, Any]:
        """For the JSON file."""
        return {**asdict(self), "budget": str(self.budget) if self.budget else None, "verdict": self.verdict}


class Rounds:
    """Subjects that run in turn, so many rounds; each round begins with another one."""

    def __init__(self, section: str, subjects: Mapping[str, Round], *, count: int) -> None:
        self.section = section
        self.subjects = dict(subjects)
        self.count = count
        self.samples: dict[str, list[float]] = {name: [] for name in subjects}

    async def run(self) -> None:
        """One round more than counts: the first one warms everything up."""
        names = list(self.subjects)
        for number in range(self.count + 1):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                gc.collect()
                sample = await self.subjects[name]()
                if number:
                    self.samples[name].append(sample)

    def ratio(self, name: str, base: str) -> float:
        """The median of the rounds' ratios."""
        pairs = zip(self.samples[name], self.samples[base], strict=True)
        return statistics.median(one / other for one, other in pairs)

    def figure(
        self,
        name: str,
        unit: str,
        *,
        base: str,
        scale: float = 1.0,
        budget: Budget | None = None,
        note: str = "",
    ) -> Figure:
        """What the rounds of one subject come to."""
        samples = [sample * scale for sample in self.samples[name]]
        ratio = self.ratio(name, base)
        return Figure(self.section, name, statistics.median(samples), unit, ratio, base, budget, note, samples)


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share does not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * len(ordered) * 1000) // 1000) - 1))]


def _digits(value: float) -> int:
    if value == int(value):
        return 0
    return 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 3
