"""The registration of a worker: who works under an id, for which agent types, and when he was heard of last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from coterie._rules.decided import Decided, State
from coterie._rules.timeline import SECOND, moment

__all__ = ["Enlisted", "WorkerRecord", "enlist", "mark_lost", "quit_work", "report", "worker_record"]


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """What a registration says.

    session: of the process, as `journal.owner` names processes. since_us, seen_us: microseconds since the epoch.
    until_us: when it is taken for lost if nothing more is heard of it. is_lost: somebody has said so.
    release: coterie's and Python's versions there, as `0.1.0/3.11`; empty if it does not say.
    """

    session: str
    types: tuple[str, ...]
    capacity: int
    in_use: int
    is_draining: bool
    is_lost: bool
    since_us: int
    seen_us: int
    until_us: int
    release: str = ""

    def is_alive(self, now: int) -> bool:
        """Whether it is heard of."""
        return not self.is_lost and now < self.until_us


class Enlisted(NamedTuple):
    """holder: the record of another process that is alive under this id; None: it is this one's."""

    holder: WorkerRecord | None


def worker_record(state: State | None) -> WorkerRecord | None:
    """What a stored state says."""
    if state is None:
        return None
    found = cast("dict[str, Any]", state)
    begin_us = found["t0"] * SECOND
    return WorkerRecord(
        found["session"],
        tuple(found["types"].split()),
        found["capacity"],
        found["in_use"],
        bool(found["draining"]),
        bool(found["lost"]),
        begin_us + found["since"],
        begin_us + found["seen"],
        begin_us + found["seen"] + found["lease"],
        found.get("release", ""),
    )


def enlist(
    state: State | None,
    now: int,
    *,
    session: str,
    types: Collection[str],
    capacity: int,
    lease_us: int,
    dead: Collection[str] = (),
    release: str = "",
) -> Decided[Enlisted]:
    """Register, unless another process is alive under the id. dead: sessions that are known to have ended."""
    time = moment(state, now)
    found = worker_record(state)
    if found is not None and found.session not in (session, *dead) and found.is_alive(time.t0_s * SECOND + time.at):
        return Decided(state, Enlisted(found))
    new: State = {
        **time.stamp(),
        "session": session,
        "types": " ".join(sorted(types)),
        "capacity": capacity,
        "in_use": 0,
        "draining": 0,
        "lost": 0,
        "since": time.at,
        "seen": time.at,
        "lease": lease_us,
        **({"release": release} if release else {}),
    }
    return Decided(new, Enlisted(None))


def report(state: State | None, now: int, *, session: str, in_use: int, is_draining: bool) -> Decided[bool]:
    """Be heard of; whether the id is still this session's."""
    if state is None or state["session"] != session:
        return Decided(state, result=False)
    time = moment(state, now)
    new: State = {**state, **time.stamp(), "in_use": in_use, "draining": int(is_draining), "seen": time.at, "lost": 0}
    return Decided(new, True)  # noqa: FBT003  # the result of the decision


def mark_lost(state: State | None, now: int, *, session: str, is_dead: bool) -> Decided[WorkerRecord | None]:
    """Note that a worker is gone; its record, if this is the first to notice. is_dead: it is known to have ended."""
    time = moment(state, now)
    found = worker_record(state)
    if state is None or found is None or found.session != session or found.is_lost:
        return Decided(state, None)
    if not is_dead and found.is_alive(time.t0_s * SECOND + time.at):
        return Decided(state, None)
    return Decided({**state, **time.stamp(), "lost": 1}, found)


def quit_work(state: State | None, _: int, *, session: str) -> Decided[bool]:
    """Give the id up; whether it was this session's."""
    if state is None or state["session"] != session:
        return Decided(state, result=False)
    return Decided(None, True)  # noqa: FBT003  # the result of the decision
