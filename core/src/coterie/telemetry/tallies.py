"""Count tasks and runs by what is told of them: their types, how they ended, how long that took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from coterie.events import Event
from coterie.ids import AgentId, AgentType
from coterie.telemetry.calls import MICROS
from coterie.telemetry.meters import Meters

__all__ = ["RunTally", "TaskTally"]

K = TypeVar("K")
V = TypeVar("V")

# Of more at once than these, the oldest is forgotten: when it ends, its agent type is unknown.
_MOST_OPEN = 100_000
_UNKNOWN = "unknown"
_REFUSED_BY = {
    "BreakerOpen": "breaker",
    "PoolBusy": "pool",
    "NoLiveAgent": "pool",
    "QuotaSpent": "limit",
    "BudgetSpent": "budget",
    "ClaimedElsewhere": "claim",
}
_TIMED_OUT = "TaskTimedOut"


class _Underway(Generic[K, V]):
    """What has started and not ended: at most `_MOST_OPEN`, the latest."""

    def __init__(self) -> None:
        self._all: dict[K, V] = {}
        self._lock = Lock()

    def begin(self, key: K, value: V) -> None:
        with self._lock:
            self._all.pop(key, None)
            self._all[key] = value
            if len(self._all) > _MOST_OPEN:
                del self._all[next(iter(self._all))]

    def look(self, key: K) -> V | None:
        return self._all.get(key)

    def end(self, key: K) -> V | None:
        with self._lock:
            return self._all.pop(key, None)


@dataclass(slots=True)
class _Task:
    agent_type: AgentType
    is_elsewhere: bool
    was_replayed: bool = False


class TaskTally:
    """Of tasks that this process performs, or knows the end of; a worker counts those that it performs for others.

    is_here: whether an agent is one of this process's, as far as that is known.
    """

    def __init__(self, meters: Meters, is_here: Callable[[AgentId], bool]) -> None:
        self._meters = meters
        self._is_here = is_here
        self._underway: _Underway[tuple[str, str | None], _Task] = _Underway()

    def count(self, what: str, event: Event) -> None:
        """Count an event `task.<what>`."""
        match what:
            case "started":
                agent_id = event.fields.get("agent_id")
                is_elsewhere = agent_id is not None and not self._is_here(agent_id)
                self._underway.begin((event.workflow_id, event.task_id), _Task(self._type(event), is_elsewhere))
            case "finished":
                self._finished(event)
            case "retrying":
                self._meters.add("coterie.task.retries", self._type(event))
                self._note_timeout(event, self._type(event))
            case "refused":
                by = _REFUSED_BY.get(_error_type(event), "other")
                self._meters.add("coterie.refusals", self._type(event), by)
            case "fell_back":
                self._meters.add("coterie.task.fallbacks", self._type(event))
                self._note_error(event, self._type(event))
            case "replayed":
                self._replayed(event)

    def count_item(self, event: Event) -> None:
        """Count what an item of a foreach ended by, which is no task: the foreach is one."""
        agent_id = event.fields.get("agent_id")
        # It is known from the journal, or counted by the worker that performed it.
        if agent_id is not None and self._is_here(agent_id):
            self._note_error(event, self._type(event))

    def ended(self, agent_type: AgentType, outcome: str, took_s: float | None) -> None:
        """Count a task that ended. took_s: None where there is no telling."""
        self._meters.add("coterie.task.completed", agent_type, outcome)
        if took_s is not None:
            self._meters.record("coterie.task.duration", agent_type, outcome, value=took_s)

    def _finished(self, event: Event) -> None:
        agent_type = self._type(event)
        task = self._underway.end((event.workflow_id, event.task_id))
        # It was counted as a replay, or is by the worker that performed it.
        if event.fields.get("replayed") or (task is not None and (task.was_replayed or task.is_elsewhere)):
            return
        # Of what never began, there is no duration.
        took_s = float(event.fields.get("duration_s") or 0.0) if event.fields.get("attempt") else None
        self.ended(agent_type, str(event.fields.get("state")), took_s)
        self._note_error(event, agent_type)

    def _replayed(self, event: Event) -> None:
        agent_type, usage = self._type(event), event.fields.get("usage") or {}
        self._meters.add("coterie.task.replays", agent_type)
        self._meters.add("coterie.task.saved", agent_type, amount=float(event.fields.get("duration_s") or 0.0))
        self._meters.add("coterie.task.saved_cost", agent_type, amount=usage.get("cost_micros", 0) / MICROS)
        task = self._underway.look((event.workflow_id, event.task_id))
        # An item of a foreach was, not yet the task.
        if task is not None and "item" not in event.fields:
            task.was_replayed = True

    def _note_error(self, event: Event, agent_type: AgentType) -> None:
        """Of what has ended: a refusal that is waited for no longer, or an attempt that was cut off."""
        by = _REFUSED_BY.get(_error_type(event))
        if by is not None:
            self._meters.add("coterie.refusals", agent_type, by)
        self._note_timeout(event, agent_type)

    def _note_timeout(self, event: Event, agent_type: AgentType) -> None:
        if _error_type(event) == _TIMED_OUT:
            self._meters.add("coterie.task.timeouts", agent_type)

    def _type(self, event: Event) -> AgentType:
        said = event.fields.get("agent_type")
        if said is not None:
            return str(said)
        task = self._underway.look((event.workflow_id, event.task_id))
        return _UNKNOWN if task is None else task.agent_type


class RunTally:
    """Of runs of whole plans, by the process that executes or concludes them."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._underway: _Underway[str, float] = _Underway()

    def count(self, what: str, event: Event) -> None:
        """Count an event `run.<what>`."""
        if what == "started":
            self._underway.begin(event.workflow_id, time.monotonic())
        elif what == "finished":
            began_s = self._underway.end(event.workflow_id)
            self.ended(str(event.fields.get("status")), None if began_s is None else time.monotonic() - began_s)

    def ended(self, status: str, took_s: float | None) -> None:
        """Count a run that ended. took_s: None where its start was not seen."""
        self._meters.add("coterie.run.completed", status)
        if took_s is not None:
            self._meters.record("coterie.run.duration", status, value=took_s)


def _error_type(event: Event) -> str:
    """The type, by which what an event says of an error begins."""
    return str(event.fields.get("error") or "").partition(":")[0]
