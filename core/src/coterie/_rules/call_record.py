"""What is stored of a call: its record, as a reader sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from coterie._rules.decided import State
from coterie._rules.timeline import SECOND

__all__ = ["CallPhase", "CallRecord", "Given", "call_record"]

CallPhase = Literal["queued", "running", "done", "cancelled"]
# Why a call is done that has no result.
Given: TypeAlias = Literal["", "abandoned", "late"]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What a record says.

    call: the call's document. result: its result's, once there is one. round: how often it was asked for after it had
    come to nothing, from 1. token: grows with each attempt. worker, session: who has begun it last. position: of the
    message that he holds for it. owner: who may cancel it. given_up: why it is done without a result. reason: of that,
    or who cancelled it. submitted_us, begun_us: microseconds since the epoch; 0: not yet. refused_us: since when it
    has been refused, and nothing else. late_us: when nobody needs to begin it any more; 0: never. patience_us: how long
    that takes. priority: of its message. run, task, correlation: what it is about, as far as its submitter has said so;
    they stay when its document is gone.
    past: what earlier attempts went through, see `coterie._rules.call_course`. free_us: since when nobody has had it,
    after an attempt. held_us: until when nobody was to take it up, and held_for: why. lost_us: when it was given to
    others, as nothing was heard of who had it. unsaid_us: for how long its end could not be recorded, for the store's
    sake; of earlier versions 0.
    """

    phase: CallPhase
    agent_type: str
    call: str
    result: str
    round: int
    token: int
    worker: str
    session: str
    position: str
    owner: str
    given_up: Given
    reason: str
    submitted_us: int
    begun_us: int
    refused_us: int
    late_us: int
    patience_us: int
    priority: int
    run: str
    task: str
    correlation: str
    past: str = ""
    free_us: int = 0
    held_us: int = 0
    held_for: str = ""
    lost_us: int = 0
    unsaid_us: int = 0


def call_record(state: State | None) -> CallRecord | None:
    """What a stored state says."""
    if state is None:
        return None
    found = cast("dict[str, Any]", state)
    begin_us = found["t0"] * SECOND

    def instant(name: str) -> int:
        at = int(found.get(name, 0))
        return begin_us + at if at else 0

    return CallRecord(
        found["phase"],
        found["type"],
        found.get("call", ""),
        found.get("result", ""),
        found["round"],
        found["token"],
        found.get("worker", ""),
        found.get("session", ""),
        found.get("position", ""),
        found.get("owner", ""),
        found.get("given_up", ""),
        found.get("reason", ""),
        instant("since"),
        instant("begun"),
        instant("refused"),
        instant("late"),
        found.get("patience", 0),
        found.get("priority", 0),
        found.get("run", ""),
        found.get("task", ""),
        found.get("correlation", ""),
        found.get("past", ""),
        instant("free"),
        instant("held"),
        found.get("held_for", ""),
        instant("lost"),
        int(found.get("unsaid", 0)),
    )
