"""A stretch of what one unit of work went through, and its text in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

__all__ = ["KINDS", "Fact", "Lap", "laps_of", "laps_text"]

Fact: TypeAlias = str | int | float | bool

# What a lap may be of, and the facts that it may have. Readers take others as they come: a newer coterie wrote them.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "claim": "had to wait for the work itself, or took it over: after (whose it was), why (as of the journal)",
        "queue": "waited for a slot: priority, place (local, pool, worker), worker",
        "limit": "was held back by a rate limit: quota",
        "refused": "was told not now: by (breaker:NAME, pool:TYPE, limit:TYPE, budget:NAME), error, retry_after_s",
        "wait": "waited until it might be better: for (refusal, store)",
        "backoff": "waited between two attempts: attempt (the one that failed), error",
        "call": "an agent was at it: attempt, agent, type, error, tokens_in, tokens_out, cost (micro-units), worker",
        "lost": "an attempt came to nothing: worker, why (lost: not heard of, drained, failed), error",
        "step": "a durable step: name, replayed",
        "read": "an artifact was read: bytes",
        "write": "an artifact was written: bytes",
        "fallback": "somebody else stood in: to",
        "undo": "it is a compensation: of (the task that it undoes)",
    }
)

_NOTHING: Mapping[str, Fact] = MappingProxyType({})


class Lap(NamedTuple):
    """One stretch of a trail. kind, facts: see `KINDS`. at_us: when it began. took_us: 0 of what only happened."""

    kind: str
    at_us: int
    took_us: int
    facts: Mapping[str, Fact] = _NOTHING

    @property
    def ended_us(self) -> int:
        """When it was over."""
        return self.at_us + self.took_us


def laps_text(laps: tuple[Lap, ...], more: int = 0) -> dict[str, Any]:
    """The laps as a document of a journal's text: offsets count from `t0`."""
    t0 = min(lap.at_us for lap in laps)
    rows: list[list[Any]] = [[lap.kind, lap.at_us - t0, lap.took_us] for lap in laps]
    for row, lap in zip(rows, laps, strict=True):
        if lap.facts:
            row.append(dict(lap.facts))
    document: dict[str, Any] = {"t0": t0, "l": rows}
    if more:
        document["more"] = more
    return document


def laps_of(document: Mapping[str, Any] | None) -> tuple[tuple[Lap, ...], int]:
    """The laps behind a document, and how many more there were.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    if not document:
        return (), 0
    t0 = int(document["t0"])
    laps = tuple(
        Lap(str(row[0]), t0 + int(row[1]), int(row[2]), row[3] if len(row) > 3 else _NOTHING) for row in document["l"]
    )
    return laps, int(document.get("more", 0))
