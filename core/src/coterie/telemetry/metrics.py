"""Metrics of tasks, runs, agents and what stands before them, by OpenTelemetry's API: any SDK collects them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.metrics import MeterProvider

from coterie.events import Event
from coterie.ids import AgentId, AgentType
from coterie.telemetry.calls import count_calls
from coterie.telemetry.gauges import Gauges
from coterie.telemetry.instruments import CLOSED
from coterie.telemetry.meters import Meters
from coterie.telemetry.tallies import RunTally, TaskTally
from coterie.telemetry.watched import Desk, Log, WorkerSeen

__all__ = ["Metrics"]

# Each answer to a request has a topic of its own.
_REPLIES = "replies/"
# Of what a type, or a breaker, may come to, the usual: without a 0 to begin with, the first is no increase.
_USUAL_ENDS = ("succeeded", "failed")
_PER_TYPE = ("retries", "timeouts", "fallbacks", "replays", "saved", "saved_cost")
_MOVES = ("open", "half_open", "closed")


class Metrics:
    """An `events.Listener` that counts, and shows what it is told to watch; give it to a `Runtime` as `on_event`.

    provider: of meters. In the one that the process has set, all is counted without being asked: give another. Any
    thread may collect. No label ever says which run or task it was, and no metric has more than 200 label sets: further
    names are "other".
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._gauges = Gauges()
        self._meters = Meters(provider, self._gauges.readers)
        self._tasks = TaskTally(self._meters, self._is_here)
        self._runs = RunTally(self._meters)
        self._begun: set[tuple[str, str]] = set()
        self._here: set[AgentId] = set()
        self._elsewhere: set[AgentId] = set()
        self._watches = False
        for status in CLOSED["status"]:
            self._meters.add("coterie.run.completed", status, amount=0)
        for part in CLOSED["part"]:
            self._meters.add("coterie.store.failures", part, amount=0)
        self._meters.add("coterie.budget.overspent", amount=0)

    def __call__(self, event: Event) -> None:
        """Count what happened."""
        kind, _, what = event.name.partition(".")
        if kind == "task":
            self._tasks.count(what, event)
        elif event.name == "item.finished":
            self._tasks.count_item(event)
        elif kind == "run":
            self._runs.count(what, event)
        elif what == "store_failed":
            self._meters.add("coterie.store.failures", kind)
        elif kind == "breaker" and "state" in event.fields:
            moved = str(event.fields.get("breaker")), str(event.fields["state"])
            self._meters.add("coterie.breaker.transitions", *moved)
            self._gauges.moved(*moved)
        elif kind == "events":
            self._count_messages(what, event.fields)
        elif event.name == "budget.overspent":
            self._meters.add("coterie.budget.overspent")

    def watch(self, orchestrator: Desk) -> None:
        """Show its agents with their slots, queues and breakers, and count their calls, from now on.

        Call it, as `refresh`, in the event loop's thread. Agents that are registered later are counted once they have
        begun a task of a plan, or metrics were refreshed.
        """
        self._watches = True
        self._gauges.watch(orchestrator)
        self._elsewhere.clear()
        self._take_in()

    def unwatch(self, orchestrator: Desk) -> None:
        """Show it no more; what it counted stays."""
        self._gauges.unwatch(orchestrator)

    def watch_worker(self, worker: WorkerSeen, log: Log, *, queues: Mapping[AgentType, str]) -> None:
        """Show a worker, and what waits in the topics of its types."""
        self._gauges.watch_worker(worker, log, queues)

    def count_run(self, status: str, took_s: float) -> None:
        """Count a run that ended, whose tasks were performed elsewhere."""
        self._runs.ended(status, took_s)

    def count_task(self, agent_type: AgentType, outcome: str, took_s: float | None) -> None:
        """Count a task that ended, and was performed elsewhere. took_s: None where its beginning is not known."""
        self._tasks.ended(agent_type, outcome, took_s)

    def note(self) -> None:
        """Take in what was registered since, and what breakers and pools say; in the event loop's thread."""
        self._take_in()

    async def refresh(self, *, within_s: float = 2.0) -> None:
        """Have gauges show what breakers, pools and stores say now; call it every few seconds, or before a collection.

        What a store does not tell in time is not shown.
        """
        self._take_in()
        await self._gauges.refresh(within_s)

    def _count_messages(self, what: str, fields: Mapping[str, Any]) -> None:
        if what not in ("lost", "dead", "unreadable", "expelled"):
            return
        topic = str(fields.get("topic"))
        amount = int(fields.get("lost") or 1) if what == "lost" else 1
        shown = _REPLIES if topic.startswith(_REPLIES) else topic
        self._meters.add(f"coterie.events.{what}", shown, amount=amount)

    def _is_here(self, agent_id: AgentId) -> bool:
        if not self._watches:
            # Nothing is watched, and nothing is known.
            return True
        if agent_id not in self._here and agent_id not in self._elsewhere:
            # It may have been registered since.
            self._take_in()
            if agent_id not in self._here:
                self._elsewhere.add(agent_id)
        return agent_id in self._here

    def _take_in(self) -> None:
        for agent_type, pool in self._gauges.types():
            count_calls(self._meters, agent_type, pool.agents)
            self._here.update(slot.agent.id for slot in pool.agents)
            if self._is_new("type", agent_type):
                self._begin_type(agent_type)
        for name in self._gauges.note():
            if self._is_new("breaker", name):
                for state in _MOVES:
                    self._meters.add("coterie.breaker.transitions", name, state, amount=0)

    def _is_new(self, kind: str, name: str) -> bool:
        is_new = (kind, name) not in self._begun
        self._begun.add((kind, name))
        return is_new

    def _begin_type(self, agent_type: AgentType) -> None:
        for name in _PER_TYPE:
            self._meters.add(f"coterie.task.{name}", agent_type, amount=0)
        self._meters.add("coterie.run.cost", agent_type, amount=0)
        for outcome in _USUAL_ENDS:
            self._meters.add("coterie.task.completed", agent_type, outcome, amount=0)
            self._meters.add("coterie.agent.calls", agent_type, outcome, amount=0)
        for direction in CLOSED["direction"]:
            self._meters.add("coterie.tokens", agent_type, direction, amount=0)
        for by in CLOSED["by"]:
            self._meters.add("coterie.refusals", agent_type, by, amount=0)
