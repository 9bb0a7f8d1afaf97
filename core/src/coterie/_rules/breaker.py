"""When calls pass, and when they are refused: the decisions of a circuit breaker that a fleet shares.

Each function returns an `Operation` for the key `breaker/<name>`. Every state but "forced_open" lets calls through
again by itself in bounded time: an open breaker when its time is over, a trial whose callers died when their permits,
or at last the trial itself, run out.

Every transition gives the breaker a greater generation. A call belongs to the generation that admitted it; what is
reported for any other changes nothing, so a late result neither closes an open breaker nor opens a recovering one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from coterie._json import JsonValue
from coterie._rules.breaker_policy import CHANCES, BreakerPolicy, terms_of
from coterie._rules.breaker_rule import (
    decide_admit,
    decide_force,
    decide_look,
    decide_record,
    decide_reset,
    decide_settle,
)
from coterie._rules.breaker_state import BreakerState
from coterie._rules.decided import Operation
from coterie._rules.timeline import SECOND
from coterie._rules.window import checked_runs
from coterie.errors import Misuse

__all__ = [
    "Admission",
    "BreakerState",
    "Code",
    "Forced",
    "View",
    "admit",
    "force",
    "look",
    "read_view",
    "record",
    "reset",
    "settle",
]

# What may be asked for; "auto" leaves a forced state, and changes nothing in the others.
Forced = Literal["forced_open", "disabled", "metrics_only", "open", "closed", "auto"]
# How a call ended: success, failure, slow success, slow failure; "i" (ignored, cancelled) for trial calls alone.
Code = Literal["s", "f", "t", "g", "i"]

_FORCED = get_args(Forced)
_CODES = get_args(Code)


@dataclass(frozen=True, slots=True)
class View:
    """What holds now.

    generation: 0 while nothing was ever stored; greater after every transition (not always by one), also after the
        state was lost and began anew.
    until_us: microseconds since the epoch, on the store's clock: open until then; of a trial, its deadline; else 0.
    retry_after_us: from now until an admission can succeed if nothing is reported meanwhile; 0: it would succeed now.
        In "forced_open" nobody knows: the policy's time-out, as a time to ask again.
    failures, calls, slow: what is counted; closed in mode "consecutive": the failures in a row, as calls too;
        in a trial: of its ended calls.
    probes_out, probes_settled: calls of the trial that run, and that have ended and count.
    opened: how many times in a row it opened without having closed.
    changed: "closed>open" and the like, if this very decision made it so ("closed>closed" after a reset); the last,
        if it made two.
    """

    state: BreakerState
    generation: int
    until_us: int
    retry_after_us: int
    failures: int
    calls: int
    slow: int
    probes_out: int
    probes_settled: int
    opened: int
    changed: str | None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a call may go, and as what.

    generation: hand it back with the result.
    permit: set for a trial call: it must be settled (with "i" if it says nothing about the agent).
    deadline_us: of the permit, in microseconds since the epoch on the store's clock; 0 without one.
    holds_us: the same as a duration from now, for callers whose clock is another.
    retry_after_us: above 0 exactly if the call is refused; as in `View`.
    changed: as in `View`.
    """

    state: BreakerState
    generation: int
    permit: str | None
    deadline_us: int
    holds_us: int
    retry_after_us: int
    changed: str | None

    @property
    def admitted(self) -> bool:
        """Whether the call may go."""
        return self.retry_after_us == 0


def record(
    name: str, policy: BreakerPolicy, *, generation: int, runs: Sequence[tuple[str, int]], chance: int
) -> Operation[View]:
    """Count calls that ended, in order of arrival, as runs of equal ones: [("s", 12), ("f", 1)].

    As if they were reported one by one: if one of them opens the breaker, those after it are of an older generation.
    Of another generation than the breaker's, and in every state but "closed" and "metrics_only", they are ignored.

    chance: 0 to 999,999, drawn anew for each call of this function.

    Raises:
        Misuse: an unknown code, or a number of calls outside 1 to 1,000,000.
    """
    counted: list[JsonValue] = [[code, number] for code, number in checked_runs(runs)]
    asked: dict[str, JsonValue] = {"generation": generation, "runs": counted, "chance": _checked_chance(chance)}
    return Operation("breaker.record", (name, terms_of(policy).wire(), asked), decide_record, _view)


def admit(name: str, policy: BreakerPolicy, *, permit_id: str, chance: int) -> Operation[Admission]:
    """Ask whether a call may go.

    Open and its time is over: a trial begins. In a trial: one of its permits, with `permit_id` (16 hex digits, new
    for each call; asked again with the same, the same is answered), as long as fewer than `half_open_max_calls` are
    out or have ended. Permits past their deadline are given to others. In the other states nothing is written, and by
    a refusal only that a trial's deadline has passed, or that the store's clock was set back; it prolongs nothing.

    chance: as in `record`.
    """
    asked: dict[str, JsonValue] = {"permit": permit_id, "chance": _checked_chance(chance)}
    return Operation("breaker.admit", (name, terms_of(policy).wire(), asked), decide_admit, _admission)


def settle(
    name: str, policy: BreakerPolicy, *, permit_id: str, generation: int, code: str, chance: int
) -> Operation[View]:
    """Report how a trial call ended, and give its permit back. "i": without a word about the agent; another may go.

    If no other permit was left, all who listen are told by a view that shows no change.
    A permit that is unknown, expired, settled before, or of another generation changes nothing.

    chance: as in `record`.

    Raises:
        Misuse: an unknown code.
    """
    if code not in _CODES:
        raise Misuse(f"a trial call ended as {code!r}; use one of {', '.join(_CODES)}")
    asked: dict[str, JsonValue] = {
        "permit": permit_id,
        "generation": generation,
        "code": code,
        "chance": _checked_chance(chance),
    }
    return Operation("breaker.settle", (name, terms_of(policy).wire(), asked), decide_settle, _view)


def force(name: str, policy: BreakerPolicy, *, to: Forced, chance: int) -> Operation[View]:
    """Put the breaker into a state by hand. The state that it is in already: nothing changes, but "open" begins anew.

    forced_open: refuses all, until forced or reset. disabled: lets all pass, counts nothing.
    metrics_only: lets all pass, and counts. open: as if it had opened by itself. closed: with nothing counted.
    auto: a forced state becomes "closed"; the others stay.
    """
    if to not in _FORCED:
        raise Misuse(f"a breaker cannot be forced to {to!r}; use one of {', '.join(_FORCED)}")
    asked: dict[str, JsonValue] = {"to": to, "chance": _checked_chance(chance)}
    return Operation("breaker.force", (name, terms_of(policy).wire(), asked), decide_force, _view)


def reset(name: str, policy: BreakerPolicy) -> Operation[View]:
    """Close the breaker, whatever its state, with nothing counted; calls that run now are of an older generation."""
    return Operation("breaker.reset", (name, terms_of(policy).wire()), decide_reset, _view)


def look(name: str, policy: BreakerPolicy) -> Operation[View]:
    """What holds now; changes nothing, so it may be applied to what `StateStore.read` returns."""
    return Operation("breaker.look", (name, terms_of(policy).wire()), decide_look, _view)


def read_view(message: str) -> View:
    """The view that a signal on the channel `breaker/<name>` carries."""
    return _view(json.loads(message))


def _view(seen: Any) -> View:
    return View(
        state=seen["state"],
        generation=seen["generation"],
        until_us=_epoch(seen["t0"], seen["until"]),
        retry_after_us=seen["retry_after"],
        failures=seen["failures"],
        calls=seen["calls"],
        slow=seen["slow"],
        probes_out=seen["out"],
        probes_settled=seen["settled"],
        opened=seen["opened"],
        changed=seen["changed"] or None,
    )


def _admission(answer: Any) -> Admission:
    return Admission(
        state=answer["state"],
        generation=answer["generation"],
        permit=answer["permit"] or None,
        deadline_us=_epoch(answer["t0"], answer["deadline"]),
        holds_us=answer["holds"],
        retry_after_us=answer["retry_after"],
        changed=answer["changed"] or None,
    )


def _epoch(t0_s: int, instant: int) -> int:
    return t0_s * SECOND + instant if instant else 0


def _checked_chance(chance: int) -> int:
    if type(chance) is not int or not 0 <= chance < CHANCES:
        raise Misuse(f"chance is {chance!r}; draw a whole number from 0 to {CHANCES - 1}")
    return chance
