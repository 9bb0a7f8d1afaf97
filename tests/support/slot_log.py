"""What the events of workers say of their slots: whether one stood free while a task waited that it could have taken.

The events are those that callers and workers publish: `task.created`, `task.assigned`, `task.returned`,
`task.completed`, `task.failed`, `task.cancelled`; `agent.registered`, `agent.draining`, `agent.left`, `agent.lost`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

__all__ = ["Happening", "Idle", "ends_of", "happenings", "idle_slots"]

_ENDS = ("task.completed", "task.failed")


class Happening(NamedTuple):
    """An event: seconds since the epoch, its short name, its data."""

    at_s: float
    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Idle:
    """A slot that stood free from one instant to another, while a task of a type it could perform waited."""

    worker: str
    agent_type: str
    from_s: float
    to_s: float

    @property
    def seconds(self) -> float:
        """For how long."""
        return self.to_s - self.from_s


def happenings(events: Iterable[Any]) -> list[Happening]:
    """CloudEvents, in the order of their own times."""
    found = [Happening(datetime.fromisoformat(event.time).timestamp(), event.name, event.data) for event in events]
    return sorted(found, key=lambda one: one.at_s)


def ends_of(log: Iterable[Happening]) -> dict[str, list[str]]:
    """By call: the workers that say to have ended it."""
    found: dict[str, list[str]] = defaultdict(list)
    for one in log:
        if one.name in _ENDS and "call" in one.data:
            found[one.data["call"]].append(one.data.get("worker", ""))
    return found


def idle_slots(log: Iterable[Happening], *, within_s: float, gone: Mapping[str, float] | None = None) -> list[Idle]:
    """The slots that stood free for longer than `within_s`, while a matching task waited all the while.

    gone: workers that were killed, and when: of that no event can tell.

    Raises:
        ValueError: the log tells of no worker, or of a task that nobody asked for: then it proves nothing.
    """
    killed = [Happening(at_s, "killed", {"worker": name}) for name, at_s in (gone or {}).items()]
    ordered = sorted([*log, *killed], key=lambda one: one.at_s)
    fleet = _Fleet(ordered)
    for one in ordered:
        fleet.look(one.at_s)
        fleet.take_in(one)
    if not fleet.workers:
        raise ValueError("the log tells of no worker")
    return [idle for idle in fleet.idle.values() if idle.seconds > within_s]


@dataclass
class _Worker:
    slots: dict[str, int]
    free_since: list[float]
    calls: dict[str, str] = field(default_factory=dict)
    room_since: dict[str, float] = field(default_factory=dict)
    takes: bool = True

    def has_room(self, agent_type: str) -> bool:
        running = sum(each == agent_type for each in self.calls.values())
        return self.takes and bool(self.free_since) and running < self.slots.get(agent_type, 0)


class _Fleet:
    def __init__(self, log: list[Happening]) -> None:
        self.workers: dict[str, _Worker] = {}
        self.idle: dict[tuple[str, str, float], Idle] = {}
        self._types: dict[str, str] = {}
        self._waiting: dict[str, float] = {}
        self._waited_since: dict[str, float] = {}
        # When each call is begun: of a killed worker's, whether somebody does it again.
        self._begun = [(one.at_s, one.data["call"]) for one in log if one.name == "task.assigned"]
        # It can be taken from when it lies in its queue, which is a little later than somebody has asked for it.
        self._queued = {
            one.data["call"]: one.data.get("queued_at", 0.0) for one in reversed(log) if one.name == "task.assigned"
        }

    def look(self, now_s: float) -> None:
        """Note what stood free up to now."""
        for agent_type in set(self._types.values()):
            due = [at for call, at in self._waiting.items() if self._types[call] == agent_type and at <= now_s]
            if not due:
                self._waited_since.pop(agent_type, None)
                continue
            since = self._waited_since.setdefault(agent_type, min(due))
            for name, worker in self.workers.items():
                if worker.has_room(agent_type):
                    begun = max(worker.free_since[0], since, worker.room_since.get(agent_type, 0.0))
                    self.idle[name, agent_type, begun] = Idle(name, agent_type, begun, now_s)

    def take_in(self, one: Happening) -> None:
        """Change what is known."""
        data, call = one.data, one.data.get("call", "")
        match one.name:
            case "agent.registered":
                self.workers[data["worker"]] = _Worker(dict(data["slots"]), [one.at_s] * data["capacity"])
            case "agent.draining" | "agent.left" | "killed":
                self._worker(data).takes = False
            case "agent.lost":
                self._bury(one)
            case "task.created":
                self._types[call] = data["agent_type"]
                self._wait(call, max(one.at_s, self._queued.get(call, 0.0)))
            case "task.assigned":
                self._assign(one)
            case "task.returned" if data["why"] in ("refused", "drained", "failed"):
                self._free(one)
                self._wait(call, one.at_s + float(data.get("delay_s", 0.0)))
            case "task.returned" | "task.completed" | "task.failed" | "task.cancelled":
                self._free(one)
                if one.name != "task.returned":
                    self._stop_waiting(call)

    def _worker(self, data: Mapping[str, Any]) -> _Worker:
        return self.workers[data["worker"]]

    def _wait(self, call: str, at_s: float) -> None:
        self._waiting[call] = at_s
        if self._waited_since.get(self._types[call], at_s) >= at_s:
            self._waited_since[self._types[call]] = at_s

    def _stop_waiting(self, call: str) -> None:
        self._waiting.pop(call, None)
        agent_type = self._types.get(call)
        if not any(self._types[other] == agent_type for other in self._waiting):
            self._waited_since.pop(agent_type or "", None)

    def _assign(self, one: Happening) -> None:
        call, worker = one.data["call"], self._worker(one.data)
        if call not in self._types:
            raise ValueError(f"the call {call!r} was begun, and nobody asked for it")
        self._stop_waiting(call)
        if worker.free_since:
            # The one that was free for the longest.
            worker.free_since.pop(0)
        worker.calls[call] = self._types[call]

    def _free(self, one: Happening) -> None:
        worker = self.workers.get(one.data.get("worker", ""))
        if worker is not None and one.data["call"] in worker.calls:
            agent_type = worker.calls.pop(one.data["call"])
            worker.free_since.append(one.at_s)
            worker.room_since[agent_type] = one.at_s

    def _bury(self, one: Happening) -> None:
        worker = self._worker(one.data)
        worker.takes = False
        again = {call for at_s, call in self._begun if at_s >= one.at_s}
        for call in worker.calls:
            if call in again:
                self._wait(call, one.at_s)
        worker.calls.clear()
