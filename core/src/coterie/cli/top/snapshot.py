"""What a frame of `coterie top` shows, as plain values: nothing here reads, draws or waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from coterie.cli.fleet.breakers import BreakerRow
from coterie.cli.fleet.budgets import BudgetRow
from coterie.cli.fleet.limits import LimitRow
from coterie.cli.fleet.pools import PoolRow
from coterie.cli.fleet.times import instant
from coterie.remote.registry import WorkerStatus

__all__ = [
    "SECTIONS",
    "AgentRow",
    "At",
    "Due",
    "GroupRow",
    "Head",
    "QueueRow",
    "Row",
    "RunRow",
    "Section",
    "SectionName",
    "Snapshot",
    "WorkerRow",
]

SectionName: TypeAlias = Literal["runs", "agents", "breakers", "limits", "budgets", "queues"]
SECTIONS: tuple[SectionName, ...] = ("runs", "agents", "breakers", "limits", "budgets", "queues")
MICROS = 1_000_000


class Row(Protocol):
    """A row of any kind."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        ...


R_co = TypeVar("R_co", bound=Row, covariant=True)


@dataclass(frozen=True, slots=True)
class Section(Generic[R_co]):
    """Rows of one kind.

    hidden: how many more there are that were not read. reach: how far was looked, where that is not all there is.
    error: why there is nothing newer; the rows are then as they were old_s seconds ago. notes: sentences on what could
    not be told.
    """

    rows: tuple[R_co, ...] = ()
    hidden: int = 0
    error: str | None = None
    old_s: float = 0.0
    notes: tuple[str, ...] = ()
    reach: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "rows": [row.document() for row in self.rows],
            "hidden": self.hidden,
            "reach": self.reach or None,
            "error": self.error,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Head:
    """Whose frame it is, and how busy the team is.

    clock_us: of the store, microseconds since the epoch; None where it never answered. trip_s: how long one read of it
    took. error: why the store does not answer; away_s: for how long it has not. workers: alive, or draining; None where
    that cannot be told. calls_per_s: attempts that ended in the last minute; cost_per_hour: micro-units, from the last
    ten minutes; both as the journal has them, None where it does not answer.
    """

    namespace: str
    store: str
    clock_us: int | None = None
    trip_s: float | None = None
    error: str | None = None
    away_s: float = 0.0
    workers: int | None = None
    calls_per_s: float | None = None
    cost_per_hour: int | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "namespace": self.namespace,
            "store": self.store,
            "clock": instant(self.clock_us),
            "trip_s": self.trip_s,
            "error": self.error,
            "workers": self.workers,
            "calls_per_s": self.calls_per_s,
            "cost_per_hour": None if self.cost_per_hour is None else self.cost_per_hour / MICROS,
        }


@dataclass(frozen=True, slots=True)
class Due:
    """A task that could have begun, for people, and whom it needs."""

    shown: str
    agent_type: str
    task_id: str = ""


@dataclass(frozen=True, slots=True)
class At:
    """What of one task somebody has claimed: its own name, or those of its items. agent_type: None: not known."""

    task_id: str
    agent_type: str | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run. Counts are of tasks; a foreach is one.

    total: None where its plan is not at hand. running: tasks or items that are known to be at work; None where only the
    process that has the run knows. queued: those that lie in the queue of a type until a worker takes them, as far as
    queues were read. items: those of its foreaches that ended, and all that are known of; None where it has none. now:
    who or what it waits for, or how it failed, for people. at: what is claimed by itself; due: the first of what could
    have begun, where one process has the run as a whole; more_due: how many more. cost_micros, tokens: of all that
    ended.
    """

    run: str
    state: str
    plan: str | None = None
    total: int | None = None
    done: int = 0
    failed: int = 0
    running: int | None = None
    queued: int = 0
    items: tuple[int, int] | None = None
    begun_us: int
    ended_us: int | None = None
    cost_micros: int = 0
    tokens: int = 0
    now: str = ""
    at: tuple[At, ...] = ()
    due: tuple[Due, ...] = ()
    more_due: int = 0

    def age_us(self, now_us: int) -> int:
        """How long it took, or has taken so far."""
        return max(0, (self.ended_us or now_us) - self.begun_us)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        items = None if self.items is None else {"ended": self.items[0], "total": self.items[1]}
        return {
            "run": self.run,
            "state": self.state,
            "plan": self.plan,
            "tasks": {
                "total": self.total,
                "done": self.done,
                "failed": self.failed,
                "running": self.running,
                "queued": self.queued,
            },
            "items": items,
            "begun_at": instant(self.begun_us),
            "ended_at": instant(self.ended_us),
            "cost": self.cost_micros / MICROS,
            "tokens": self.tokens,
            "now": self.now,
        }


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker, among the agents."""

    worker: WorkerStatus

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": "worker", **asdict(self.worker), "types": list(self.worker.types)}


@dataclass(frozen=True, slots=True)
class AgentRow:
    """The agents of one type that a fleet shares: a pool."""

    pool: PoolRow

    @property
    def slots(self) -> int:
        """Leases that its agents may have at once, as far as they take any."""
        ready = (agent for agent in self.pool.agents if agent.condition in ("ready", "busy"))
        return sum(agent.slots for agent in ready)

    @property
    def oldest_us(self) -> int | None:
        """How long the one has waited that waits longest; None where nobody does."""
        return max((ticket.standing_us for ticket in self.pool.tickets), default=None)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        oldest = self.oldest_us
        return {
            "kind": "pool",
            "agent_type": self.pool.agent_type,
            "agents": len(self.pool.agents),
            "in_use": self.pool.in_use,
            "slots": self.slots,
            "waiting": len(self.pool.tickets),
            "oldest_wait_s": None if oldest is None else oldest / MICROS,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """The queue of remote tasks of one type. oldest_us: since when the one waits that came first, on the store's
    clock; None where that is not known. workers: that are alive, and serve the type; None where that cannot be told.
    calls: how many wait, by run and task; taken: how many are begun, by run, task and worker; as far as was read.
    """

    agent_type: str
    waiting: int
    claimed: int
    dead: int
    oldest_us: int | None = None
    workers: int | None = None
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    taken: Mapping[tuple[str, str, str], int] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": "queue",
            "agent_type": self.agent_type,
            "waiting": self.waiting,
            "oldest": instant(self.oldest_us),
            "claimed": self.claimed,
            "workers": self.workers,
            "dead": self.dead,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """How far a group has come with a topic of events. lag: messages that it has not done. group: "" of a topic that
    nobody reads; lag is then how many it keeps.
    """

    topic: str
    group: str
    lag: int
    claimed: int
    dead: int
    consumers: int
    oldest_us: int | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": "topic",
            "topic": self.topic,
            "group": self.group or None,
            "lag": self.lag if self.group else None,
            "kept": None if self.group else self.lag,
            "oldest": instant(self.oldest_us),
            "claimed": self.claimed,
            "consumers": self.consumers,
            "dead": self.dead,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One frame's worth of everything."""

    head: Head
    runs: Section[RunRow] = field(default_factory=Section)
    agents: Section[AgentRow | WorkerRow] = field(default_factory=Section)
    breakers: Section[BreakerRow] = field(default_factory=Section)
    limits: Section[LimitRow] = field(default_factory=Section)
    budgets: Section[BudgetRow] = field(default_factory=Section)
    queues: Section[QueueRow | GroupRow] = field(default_factory=Section)

    @property
    def sections(self) -> Mapping[SectionName, Section[Any]]:
        """By name, in the order in which they are shown."""
        return {name: getattr(self, name) for name in SECTIONS}

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "head": self.head.document(),
            **{name: section.document() for name, section in self.sections.items()},
        }
