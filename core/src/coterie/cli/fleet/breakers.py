"""A circuit breaker's stored state, as people are shown it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from coterie._rules.breaker import BreakerState, look
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.decided import State
from coterie._rules.timeline import SECOND
from coterie.breaker.note import Note
from coterie.cli.fleet.reading import reading
from coterie.cli.fleet.times import instant
from coterie.markdown import harmless

__all__ = ["BreakerRow", "breaker_row", "with_error"]

# Reads any stored window of the last calls, whatever its size: it holds no more than its writer's policy allowed.
_ANY_RING = BreakerPolicy(mode="count", window_calls=10_000, min_calls=1)
# So many transitions within one second are believed; a beginning further ahead is of a clock that was set back.
_SAME_SECOND = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRow:
    """One breaker. Instants in microseconds since the epoch, on the store's clock.

    since_us: of the last transition, to the second; None where that is not known.
    until_us: open until then, or a trial's deadline; None in other states.
    failures, calls: None where the policy is needed to count them, and not known.
    stored: False of a team's breaker that has had nothing to store yet.
    error: what it opened after, while it is open or on trial, as far as that is known.
    """

    name: str
    state: BreakerState
    generation: int
    since_us: int | None
    until_us: int | None
    failures: int | None
    calls: int | None
    opened: int
    probes_out: int
    probes_settled: int
    stored: bool
    error: str | None = None

    @property
    def is_tripped(self) -> bool:
        """Whether it has opened by itself, and not closed since."""
        return self.state in ("open", "half_open")

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "generation": self.generation,
            "since": instant(self.since_us),
            "until": instant(self.until_us),
            "failures": self.failures,
            "calls": self.calls,
            "opened_in_a_row": self.opened,
            "trial": {"running": self.probes_out, "ended": self.probes_settled} if self.state == "half_open" else None,
            "stored": self.stored,
            "error": self.error,
        }


def with_error(row: BreakerRow, note: Note | None) -> BreakerRow:
    """The row with what its breaker opened after; unless the note is of an opening that it has closed since."""
    if note is None or not row.is_tripped:
        return row
    is_older = row.since_us is not None and note.at_s * SECOND < row.since_us - _SAME_SECOND * SECOND
    if is_older and row.state == "open" and row.opened == 1:
        return row
    return replace(row, error=harmless(note.error))


def breaker_row(name: str, policy: BreakerPolicy | None, state: State | None, now: int) -> BreakerRow:
    """What its state says at `now`.

    Raises:
        StateFormatError: it cannot be read, or a newer coterie wrote it.
    """
    with reading(f"breaker/{name}"):
        return _row(name, policy, state, now)


def _row(name: str, policy: BreakerPolicy | None, state: State | None, now: int) -> BreakerRow:
    counted = state.get("counted") if state is not None else None
    assumed = _ANY_RING if isinstance(counted, str) else BreakerPolicy()
    view = look(name, policy or assumed)(state, now).result
    # Of seconds that are stored, the policy says how many count. The other forms count by themselves.
    counts = policy is not None or not isinstance(counted, dict) or view.state not in ("closed", "metrics_only")
    # A generation is the second of its transition, or a little more, where several came in one second.
    since_us = view.generation * SECOND
    if now < since_us <= now + _SAME_SECOND * SECOND:
        since_us = now
    return BreakerRow(
        name=name,
        state=view.state,
        generation=view.generation,
        since_us=since_us if 0 < since_us <= now else None,
        until_us=view.until_us or None,
        failures=view.failures if counts else None,
        calls=view.calls if counts else None,
        opened=view.opened,
        probes_out=view.probes_out,
        probes_settled=view.probes_settled,
        stored=state is not None,
    )
