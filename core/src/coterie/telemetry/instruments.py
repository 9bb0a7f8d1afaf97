"""Every metric that coterie has: name, kind, unit, labels, and when it moves. `docs/reference/metrics.md` has the same.

Names and units are in OpenTelemetry's manner; Prometheus calls `coterie.task.duration`, in `s`,
`coterie_task_duration_seconds`. A label's values are the team's names, or one of the few in `CLOSED`: a run, a task or
a secret is never one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["CLOSED", "INSTRUMENTS", "SECONDS", "Instrument", "Kind", "prometheus_names"]

Kind: TypeAlias = Literal["counter", "histogram", "gauge"]

# Upper bounds of the buckets of durations: agents answer in milliseconds, or in the better part of an hour.
SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

# What labels may say that are not names of the team's; anything else becomes "other".
CLOSED: Mapping[str, tuple[str, ...]] = {
    "outcome": ("succeeded", "failed", "cancelled", "skipped", "upstream_failed"),
    "status": ("succeeded", "partial", "failed", "cancelled"),
    "direction": ("input", "output"),
    "by": ("breaker", "pool", "limit", "budget", "claim"),
    "to": ("closed", "half_open", "open", "forced_open", "disabled", "metrics_only"),
    "place": ("local", "pool", "worker"),
    "part": ("breaker", "state", "events"),
}

_UNITS = {"s": "seconds"}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric. unit: in UCUM; in braces, what is counted."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    description: str

    @property
    def prometheus_name(self) -> str:
        """What Prometheus calls it; of a histogram, without `_bucket`, `_sum` and `_count`."""
        name = self.name.replace(".", "_")
        if self.unit in _UNITS:
            name += f"_{_UNITS[self.unit]}"
        return name + "_total" if self.kind == "counter" else name


_ALL = (
    # Tasks, as this process performs them
    Instrument("coterie.task.duration", "histogram", "s", ("agent_type", "outcome"), "From a task's start to its end."),
    Instrument("coterie.task.completed", "counter", "{task}", ("agent_type", "outcome"), "Tasks that ended here."),
    Instrument("coterie.task.retries", "counter", "{attempt}", ("agent_type",), "Attempts after a failed one."),
    Instrument("coterie.task.timeouts", "counter", "{attempt}", ("agent_type",), "Attempts cut off by a time-out."),
    Instrument("coterie.task.fallbacks", "counter", "{task}", ("agent_type",), "Tasks for which something stood in."),
    Instrument("coterie.task.replays", "counter", "{task}", ("agent_type",), "Tasks known from the journal, not done."),
    Instrument("coterie.task.saved", "counter", "s", ("agent_type",), "Work that replays spared."),
    Instrument("coterie.task.saved_cost", "counter", "{money}", ("agent_type",), "Money that replays spared."),
    # Runs, in the process that runs the plan
    Instrument("coterie.run.duration", "histogram", "s", ("status",), "From a run's start here to its end."),
    Instrument("coterie.run.completed", "counter", "{run}", ("status",), "Runs that ended here."),
    Instrument("coterie.run.cost", "counter", "{money}", ("agent_type",), "Money that agents reported to have used."),
    Instrument("coterie.tokens", "counter", "{token}", ("agent_type", "direction"), "Tokens that agents reported."),
    # Agents
    Instrument("coterie.agent.calls", "counter", "{call}", ("agent_type", "outcome"), "Calls of agents that ended."),
    Instrument("coterie.agent.duration", "histogram", "s", ("agent_type",), "How long a call of an agent took."),
    Instrument("coterie.agent.slots", "gauge", "{slot}", ("agent_type", "agent_id"), "Calls that it takes at a time."),
    Instrument("coterie.agent.in_use", "gauge", "{slot}", ("agent_type", "agent_id"), "Slots that are taken now."),
    Instrument("coterie.agent.healthy", "gauge", "{state}", ("agent_type", "agent_id"), "1: it may be called; 0: not."),
    # What stands before them
    Instrument("coterie.queue.depth", "gauge", "{task}", ("agent_type", "place"), "Tasks that wait now."),
    Instrument("coterie.breaker.state", "gauge", "{state}", ("breaker",), "The circuit breaker's state, as a number."),
    Instrument("coterie.breaker.transitions", "counter", "{transition}", ("breaker", "to"), "Changes of its state."),
    Instrument("coterie.refusals", "counter", "{refusal}", ("agent_type", "by"), "Calls that were not let through."),
    Instrument("coterie.budget.overspent", "counter", "{call}", (), "Calls that used more than was reserved for them."),
    # Events, and the stores behind all of it
    Instrument("coterie.events.unread", "gauge", "{event}", ("topic", "group"), "Events that a group has yet to do."),
    Instrument("coterie.events.dead_letters", "gauge", "{event}", ("topic", "group"), "Messages that were given up."),
    Instrument("coterie.events.lost", "counter", "{event}", ("topic",), "Events dropped before a group read them."),
    Instrument("coterie.events.dead", "counter", "{event}", ("topic",), "Events that became dead letters here."),
    Instrument("coterie.events.unreadable", "counter", "{event}", ("topic",), "Messages that are no events."),
    Instrument("coterie.events.expelled", "counter", "{time}", ("topic",), "Times that a consumer was taken for lost."),
    Instrument("coterie.store.failures", "counter", "{failure}", ("part",), "Times that a store went away."),
    # The worker
    Instrument("coterie.worker.ready", "gauge", "{state}", (), "1: the worker takes tasks; 0: it does not."),
    Instrument("coterie.worker.capacity", "gauge", "{task}", (), "Tasks that it performs at a time, of all types."),
    Instrument("coterie.worker.in_use", "gauge", "{task}", (), "Tasks that it is at now."),
)

INSTRUMENTS: Mapping[str, Instrument] = {each.name: each for each in _ALL}


def prometheus_names() -> Iterator[tuple[str, Instrument]]:
    """Every series that Prometheus sees, by name."""
    for each in _ALL:
        ends = ("_bucket", "_sum", "_count") if each.kind == "histogram" else ("",)
        yield from ((each.prometheus_name + end, each) for end in ends)
