"""A state store that writes down every decision about a breaker that changed something, with the store's own time.

What a caller of a breaker is given shows neither the generation nor the permit of its call; the store's answer to
its process does, and reaches the call through `current`, since the question is asked in the caller's context.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from coterie._rules.breaker import Admission
from coterie._rules.decided import Decide, Decided, Operation, State
from coterie.ports import StateStore
from coterie.ports.around import StateStoreAround
from tests.fleet.stampede.journal import Journal

__all__ = ["Call", "RecordingStore", "current", "snapshot"]

T = TypeVar("T")

# 1 s of the state's own beginning, in its instants.
_SECOND = 1_000_000


@dataclass(eq=False)
class Call:
    """One call of a breaker; admission: what the store answered, if it was asked."""

    admission: Admission | None = None


current: ContextVar[Call] = ContextVar("current")


class RecordingStore(StateStoreAround):
    """A `StateStore` around another that writes down what it was asked."""

    def __init__(self, wrapped: StateStore, journal: Journal, pid: int) -> None:
        super().__init__(wrapped)
        self._journal = journal
        self._pid = pid
        self.under_way = 0

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        if not isinstance(decide, Operation):
            return await self._wrapped.update(key, decide, keep_s=keep_s)
        taken: list[tuple[State | None, State | None, int]] = []

        def rule(state: State | None, now: int, *args: Any) -> Decided[Any]:
            decided = decide.rule(state, now, *args)
            # Decided several times, the last one counts.
            taken[:] = [(state, decided.state, now)]
            return decided

        self.under_way += 1
        try:
            result = await self._wrapped.update(key, replace(decide, rule=rule), keep_s=keep_s)
            before, after, now = taken[0]
            if isinstance(result, Admission) and (call := current.get(None)) is not None:
                call.admission = result
            if before is not after:
                await self._write_down(key, decide, snapshot(after, now), snapshot(before, now)["gen"])
            return result
        finally:
            self.under_way -= 1

    async def _write_down(self, key: str, decide: Operation[Any], seen: dict[str, Any], before: int) -> None:
        kind, name = decide.name.partition(".")[2], key.partition("/")[2]
        asked = decide.args[2] if len(decide.args) > 2 else {}
        assert isinstance(asked, dict)
        stored = snapshot(*await self._wrapped.read(key)) if kind in {"admit", "settle"} else None
        self._journal.append(
            "decided",
            name,
            self._pid,
            kind=kind,
            permit=asked.get("permit"),
            code=asked.get("code"),
            asked_gen=asked.get("generation"),
            runs=asked.get("runs"),
            before=before,
            seen=seen,
            stored=stored,
        )


def snapshot(state: State | None, now: int) -> dict[str, Any]:
    """What a stored breaker holds at `now`; instants in microseconds since the epoch."""
    if state is None:
        return {"state": "closed", "gen": 0, "at": now, "counted": None}
    held: Any = state
    begin = held["t0"] * _SECOND
    seen = {"state": held["state"], "gen": held["gen"], "at": begin + held["at"], "counted": held.get("counted")}
    if "until" in held:
        seen["until"] = begin + held["until"]
    if "round" in held:
        trial = held["round"]
        deadlines = {permit: begin + deadline for permit, deadline in trial["permits"].items()}
        seen |= {name: trial[name] for name in ("admitted", "returned", "expired", "settled", "failed")}
        seen |= {"deadline": begin + trial["deadline"], "lapse": begin + trial["lapse"], "permits": deadlines}
    return seen
