"""Which state a machine is in, and what may take it to another: `(table, state, input, now) -> Step`.

A machine *visits* states, and numbers its visits from 1. In a visit it is

    acting    the state's action has begun, or is to be begun, and has not ended
    waiting   for an event, or for its time-out: the state has no action, or stays where its action has succeeded
    over      it has ended, and visits nothing any more

and this is all that happens to it, by the kind of what comes in:

                Ended (the action)    Sent (an event)       Cancel        a time-out that is due
    acting      leave, stay or fail   leave, else illegal   be over       leave
    waiting     (late)                leave, else illegal   be over       leave
    over        (late)                illegal               (repeated)

What stands in parentheses changes nothing, and what is illegal changes nothing. A time-out that is due by the state's
time is taken before whatever comes in, so that it never depends on who looks first; what comes in then finds the next
visit. The end of an action names its visit: one of another visit is late. An event may name the visit that it is
meant for. Which transition leaves a state is in the `Table` alone.

Each visit is left once, and its record is written in the same step as the state after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

from coterie._json import JsonValue
from coterie._rules.machine_record import Cause, Error, Head, Phase, Visit
from coterie._rules.machine_table import Table, Way
from coterie._rules.timeline import begin as begin_time
from coterie._rules.timeline import micros, moment

__all__ = ["Cancel", "Ended", "Input", "Look", "Sent", "Step", "Verdict", "adopt", "begin", "take"]

# moved: to another visit, or to the end. stayed: the action has ended, and nothing leaves the state. Else what came in
# changed nothing: late, repeated, illegal; or idle: nobody asked for a change, and no time-out was due.
Verdict: TypeAlias = Literal["moved", "stayed", "late", "repeated", "illegal", "idle"]


class Ended(NamedTuple):
    """The action of a visit has ended. value: its output, or its error as `{"type", "message"}`.

    result: what the visit's record keeps of it.
    """

    visit: int
    how: Literal["succeeded", "failed"]
    value: JsonValue
    result: Mapping[str, JsonValue]


class Sent(NamedTuple):
    """Somebody sent an event. event_id: the same for the same sending. visit: what it is meant for; None for any."""

    event_id: str
    name: str
    payload: JsonValue = None
    who: str = ""
    visit: int | None = None


class Cancel(NamedTuple):
    """Somebody wants the machine to end now."""

    who: str = ""


class Look(NamedTuple):
    """Nobody wants anything: only what is due by now is done."""


Input: TypeAlias = Ended | Sent | Cancel | Look


class Step(NamedTuple):
    """head: the new one; the very object that was given, if nothing changes. visits: records to write, oldest first.

    why: what was wrong with what is illegal.
    """

    head: Head
    verdict: Verdict
    visits: tuple[Visit, ...] = ()
    why: str = ""


def begin(table: Table, version: str, now: int) -> Head:
    """A machine in its initial state. version: of its definition."""
    time = begin_time(now)
    nowhere = Head(time, version, state="", visit=0, phase="waiting", entered=now)
    return _enter(table, nowhere, table.initial, now)


def adopt(table: Table, head: Head, version: str, now: int) -> Head | None:
    """The same machine under another definition; None if that does not have its state.

    It stays in its visit: an action that is new to the state is performed, one that has succeeded is not done again.
    """
    state = table.states.get(head.state)
    if head.phase == "over" or state is None:
        return replace(head, version=version) if head.phase == "over" else None
    time = moment({**head.time.stamp()}, now)
    acts = state.action is not None and head.outputs.get(head.state) != head.visit
    due = time.at + micros(state.timeout_s) if state.timeout_s is not None else None
    return replace(
        head,
        version=version,
        time=time,
        phase="over" if state.final else "acting" if acts else "waiting",
        due=due if head.due is None or due is None else head.due,
        status=state.final,
    )


def take(table: Table, head: Head, what: Input, now: int) -> Step:
    """What becomes of a machine when something comes in at `now`, in microseconds on the store's clock."""
    before = head
    head = replace(head, time=moment({**head.time.stamp()}, now))
    visits: tuple[Visit, ...] = ()
    if head.due is not None and head.time.at >= head.due:
        head, left = _leave(table, head, _the(table.choose(head.state, "timeout", None)), Cause("timeout"), now)
        visits = (left,)
    took = _TAKEN.get((head.phase, type(what)))
    step = took(table, head, what, now) if took is not None else _not_taken(head, what)
    if visits and step.verdict == "illegal":
        step = step._replace(why=f"the time-out of {visits[0].state!r} was due, and was taken first; then {step.why}")
    if visits or step.visits:
        return step._replace(visits=visits + step.visits, verdict="moved" if step.verdict == "idle" else step.verdict)
    # A clock that was set back must be written down, or whoever only looks would never see time pass.
    moved = step.head.time.t0_s != before.time.t0_s
    return step._replace(head=step.head if moved else before)


def _end_action(table: Table, head: Head, what: Ended, now: int) -> Step:
    if what.visit != head.visit:
        return Step(head, "late")
    known = {**(head.outputs if what.how == "succeeded" else head.errors), head.state: head.visit}
    head = replace(head, outputs=known) if what.how == "succeeded" else replace(head, errors=known)
    cause, way = Cause(what.how, result=what.result), table.choose(head.state, what.how, what.value)
    if way is not None:
        head, left = _leave(table, head, way, cause, now)
        return Step(head, "moved", (left,))
    if what.how == "failed":
        return _fail(head, cause, _error_of(what.value), now)
    stays = Visit(head.visit, head.state, head.entered, result=what.result)
    return Step(replace(head, phase="waiting"), "stayed", (stays,))


def _take_event(table: Table, head: Head, what: Sent, now: int) -> Step:
    if what.visit is not None and what.visit != head.visit:
        return Step(head, "illegal", why=f"it was meant for visit {what.visit}")
    if what.name not in table.states[head.state].events:
        return Step(head, "illegal", why="no transition is on it")
    way = table.choose(head.state, what.name, what.payload)
    if way is None:
        guards = "; ".join(_told(way) for way in table.ways[head.state, what.name])
        return Step(head, "illegal", why=f"no guard of its transitions holds: {guards}")
    cause = Cause(what.name, event_id=what.event_id, payload=what.payload, who=what.who)
    head, left = _leave(table, replace(head, event=head.visit), way, cause, now)
    return Step(head, "moved", (left,))


def _cancel(_: Table, head: Head, what: Cancel, now: int) -> Step:
    left = _record(head, Cause("cancelled", who=what.who), now)
    return Step(_over(head, "cancelled"), "moved", (left,))


def _look(_: Table, head: Head, __: Look, ___: int) -> Step:
    return Step(head, "idle")


# Everything that is taken; the pictures in the first lines of this file and this table say the same.
_TAKEN: Mapping[tuple[Phase, type[Input]], Callable[..., Step]] = {
    ("acting", Ended): _end_action,
    ("acting", Sent): _take_event,
    ("acting", Cancel): _cancel,
    ("acting", Look): _look,
    ("waiting", Sent): _take_event,
    ("waiting", Cancel): _cancel,
    ("waiting", Look): _look,
    ("over", Look): _look,
}


def _not_taken(head: Head, what: Input) -> Step:
    if isinstance(what, Ended):
        return Step(head, "late")
    if isinstance(what, Cancel):
        return Step(head, "repeated")
    return Step(head, "illegal", why="it has ended")


def _leave(table: Table, head: Head, way: Way, cause: Cause, now: int) -> tuple[Head, Visit]:
    """Take a transition."""
    passed, to = _target(table, head, way.to)
    if to is None:
        error = _exhausted(f"the state {passed[-1]!r} may be entered {head.visits[passed[-1]]} times")
    elif table.max_steps is not None and head.visit > table.max_steps:
        error = _exhausted(f"the machine may take {table.max_steps} steps")
    else:
        return _enter(table, head, to, now), _record(head, cause, now, to=to, passed=passed)
    return _over(head, "failed", error), _record(head, cause, now, passed=passed)


def _target(table: Table, head: Head, to: str) -> tuple[tuple[str, ...], str | None]:
    """Where a transition to a state leads, past states that were entered as often as they may be; None: nowhere."""
    passed: tuple[str, ...] = ()
    while _is_exhausted(table, head, to):
        passed = (*passed, to)
        instead = table.choose(to, "exhausted", None)
        if instead is None:
            return passed, None
        to = instead.to
    return passed, to


def _is_exhausted(table: Table, head: Head, name: str) -> bool:
    most = table.states[name].max_visits
    return most is not None and head.visits.get(name, 0) >= most


def _enter(table: Table, head: Head, name: str, now: int) -> Head:
    state = table.states[name]
    phase: Phase = "over" if state.final else "waiting" if state.action is None else "acting"
    return replace(
        head,
        state=name,
        visit=head.visit + 1,
        phase=phase,
        entered=now,
        due=head.time.at + micros(state.timeout_s) if state.timeout_s is not None else None,
        visits={**head.visits, name: head.visits.get(name, 0) + 1},
        status=state.final,
    )


def _fail(head: Head, cause: Cause, error: Error, now: int) -> Step:
    return Step(_over(head, "failed", error), "moved", (_record(head, cause, now),))


def _over(head: Head, status: Literal["failed", "cancelled"], error: Error | None = None) -> Head:
    return replace(head, phase="over", due=None, status=status, error=error)


def _record(head: Head, cause: Cause, now: int, *, to: str | None = None, passed: tuple[str, ...] = ()) -> Visit:
    return Visit(
        head.visit,
        head.state,
        head.entered,
        left=now,
        trigger=cause.trigger,
        to=to,
        passed=passed,
        result=cause.result,
        event_id=cause.event_id,
        payload=cause.payload,
        who=cause.who,
    )


def _the(way: Way | None) -> Way:
    assert way is not None, "a state with a time-out has a transition on it, without a guard"
    return way


def _told(way: Way) -> str:
    """What a transition asks of the payload."""
    asked = []
    for one in way.conditions:
        value = "" if one.op == "exists" else f" {json.dumps(one.value, ensure_ascii=False):.100}"
        asked.append(f"{one.pointer or 'the payload'} {one.op}{value}")
    return f"to {way.to!r} if {' and '.join(asked)}"


def _exhausted(bound: str) -> Error:
    return Error("StepFailed", f"{bound}, and has: raise the bound, or add a transition that leads on")


def _error_of(value: JsonValue) -> Error:
    found = value if isinstance(value, dict) else {}
    return Error(str(found.get("type", "StepFailed")), str(found.get("message", "")))
