"""One stretch of a run's time: the run itself, a task, an item, and the laps that these went through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from coterie.ids import TaskId

__all__ = ["ROOT", "Fact", "Span", "Time", "children_of", "in_order", "task_span_id", "time_of"]

Fact: TypeAlias = str | int | float | bool
# What time goes to. agent: somebody worked. open: it has not ended, and whether it waits or somebody is at it only its
# process knows. ready: it could have begun, and had not. event: a machine waits. store: it did not answer. closing: all
# tasks had ended, and the run had not. nobody: nobody was at the run. lost: a worker had it, and nothing came of that.
# coterie: what is none of these.
Time: TypeAlias = Literal[
    "agent",
    "open",
    "queue",
    "limit",
    "backoff",
    "wait",
    "store",
    "lost",
    "artifact",
    "claim",
    "person",
    "undo",
    "ready",
    "event",
    "closing",
    "nobody",
    "coterie",
]

# The id of the span that is the run.
ROOT = "run"

_TIMES: Mapping[str, Time] = MappingProxyType(
    {
        "call": "agent",
        "step": "agent",
        "fallback": "agent",
        "queue": "queue",
        "limit": "limit",
        "backoff": "backoff",
        "wait": "wait",
        "refused": "wait",
        "lost": "lost",
        "read": "artifact",
        "write": "artifact",
        "claim": "claim",
        "gap": "nobody",
        "person": "person",
        "undo": "undo",
        "visit": "event",
        "run": "ready",
    }
)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time within its parent's.

    id: the same whoever reads the same journal. begun_us, ended_us: microseconds since the epoch; `ended_us` is None
    while it goes on. time: what it counts as where none of its children has the time. links: the ids of the spans that
    it waited for.
    """

    id: str
    parent: str | None
    name: str
    kind: str
    begun_us: int
    ended_us: int | None
    state: str | None = None
    time: Time = "coterie"
    facts: Mapping[str, Fact] = field(default_factory=dict)
    links: tuple[str, ...] = ()

    def until_us(self, now_us: int) -> int:
        """Its end; of one that goes on, now."""
        return max(self.begun_us, now_us) if self.ended_us is None else self.ended_us


def time_of(kind: str, facts: Mapping[str, Fact] = MappingProxyType({})) -> Time:
    """What a span of that kind counts as; also of kinds that only a newer coterie notes."""
    return "store" if kind == "wait" and facts.get("for") == "store" else _TIMES.get(kind, "coterie")


def task_span_id(task_id: TaskId) -> str:
    """The id of a task's span."""
    return f"task/{task_id}"


def children_of(spans: Iterable[Span]) -> dict[str | None, list[Span]]:
    """The spans by their parent's id, in the order given."""
    found: dict[str | None, list[Span]] = {}
    for span in spans:
        found.setdefault(span.parent, []).append(span)
    return found


def in_order(spans: Sequence[Span]) -> list[Span]:
    """The same, parents before their children, siblings by when they began."""
    within = children_of(sorted(spans, key=lambda span: (span.begun_us, span.id)))
    found: list[Span] = []
    pending = list(reversed(within.get(None, [])))
    while pending:
        span = pending.pop()
        found.append(span)
        pending.extend(reversed(within.get(span.id, [])))
    return found
