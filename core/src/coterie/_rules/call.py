"""A call: one task that some worker is to perform. Its record decides; messages about it only wake.

    queued -> running -> done            a worker begins it, and ends it
    running -> queued                    it was refused, given back, or its worker is lost
    queued, running -> cancelled         whoever asked for it wants it no more
    queued, running -> done              given up (`abandoned`), or never begun in time (`late`)
    cancelled, abandoned, late -> queued asked for again: another round, of which older messages know nothing

Each time that a call is begun, and each time that it is asked for again, its token grows: who holds an older one
changes nothing any more (fencing tokens: Kleppmann, "How to do distributed locking").
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

from coterie._rules.call_course import Left, after_attempt, after_loss
from coterie._rules.call_record import CallPhase, CallRecord, call_record
from coterie._rules.decided import Decided, Signal, State
from coterie._rules.timeline import SECOND, Moment, moment

__all__ = [
    "Asked",
    "Begun",
    "CallPhase",
    "CallRecord",
    "Dropped",
    "Submitted",
    "abandon",
    "begin",
    "call_record",
    "cancel",
    "expire",
    "finish",
    "lose",
    "put_back",
    "submit",
    "withdraw",
]


class Asked(NamedTuple):
    """What is asked for. patience_us: for how long nobody may begin it. run, task, correlation: as of the record."""

    agent_type: str
    call: str
    owner: str
    patience_us: int
    priority: int = 0
    run: str = ""
    task: str = ""
    correlation: str = ""


class Submitted(NamedTuple):
    """record: as it is now. is_new: whether it was not there, or had come to nothing. before: whose it was, if it was
    another's.
    """

    record: CallRecord
    is_new: bool
    before: str = ""


class Begun(NamedTuple):
    """The call is its taker's. waited_us: since when it has been refused, if it was, till now. lost: as it was when
    it was another's, of whom nothing is heard any more.
    """

    record: CallRecord
    waited_us: int
    lost: CallRecord | None = None


class Dropped(NamedTuple):
    """The message is to be acknowledged, and nothing to be done. record: None where there is none."""

    why: Literal["unknown", "done", "cancelled", "older round", "begun elsewhere", "late"]
    record: CallRecord | None


def submit(state: State | None, now: int, *, call_id: str, asked: Asked) -> Decided[Submitted]:
    """Ask for a call. One that is queued, running, or has a result is joined: then only its owner changes."""
    time = moment(state, now)
    if state is not None and (state["phase"] in ("queued", "running") or state.get("result")):
        is_own = state.get("owner") == asked.owner
        before = "" if is_own else str(state.get("owner", ""))
        if state["phase"] == "done" or is_own:
            return Decided(state, _submitted(state, is_new=False, before=before))
        joined = {**state, **time.stamp(), "owner": asked.owner}
        return Decided(joined, _submitted(joined, is_new=False, before=before))
    earlier = state or {"round": 0, "token": -1}
    new: State = {
        **time.stamp(),
        "phase": "queued",
        "type": asked.agent_type,
        "call": asked.call,
        "owner": asked.owner,
        "round": _int(earlier, "round") + 1,
        # Whoever is still at work on an earlier round is past it.
        "token": _int(earlier, "token") + 1,
        "since": _instant(time),
        "patience": asked.patience_us,
        "priority": asked.priority,
        "late": _instant(time) + asked.patience_us,
        **{name: text for name in ("run", "task", "correlation") if (text := getattr(asked, name))},
    }
    return Decided(new, _submitted(new, is_new=True), _told(call_id, "queued"))


def withdraw(state: State | None, now: int, *, call_id: str, round_: int) -> Decided[bool]:
    """Undo a submission of which nobody can have heard: there was no room for its message."""
    if state is None or (state["phase"], state["round"]) != ("queued", round_) or state.get("begun"):
        return Decided(state, result=False)
    ended = _cancelled(state, now, call_id=call_id, by="nobody could be told of it")
    return Decided(ended.state, True, ended.signals)  # noqa: FBT003  # the result of the decision


def begin(
    state: State | None, now: int, *, call_id: str, round_: int, position: str, worker: str, session: str
) -> Decided[Begun | Dropped]:
    """Take a call, by the message of a round that lies at `position` of its queue.

    A running one is taken over where the message is the very one that its worker held: he is not heard of any more.
    """
    found = call_record(state)
    if state is None or found is None:
        return Decided(state, Dropped("unknown", None))
    if found.phase == "cancelled" or found.round != round_:
        why: Literal["cancelled", "older round"] = "older round" if found.round != round_ else "cancelled"
        return Decided(state, Dropped(why, found))
    # A message that was given up, and is delivered again because somebody wants it so.
    again = found.phase == "done" and found.given_up == "abandoned"
    if found.phase == "done" and not again:
        return Decided(state, Dropped("done", found))
    if found.phase == "running" and found.position != position:
        return Decided(state, Dropped("begun elsewhere", found))
    time = moment(state, now)
    if found.phase == "queued" and _is_late(state, time):
        late = _late(state, time)
        return Decided(late, Dropped("late", call_record(late)), _told(call_id, "done"))
    # Who is at it already asks again, as the answer was lost.
    is_own = found.phase == "running" and found.session == session
    lost = found if found.phase in ("queued", "running") and found.worker and not is_own else None
    begun: State = {
        **_without(state, "late", "given_up", "reason", "result", "lost"),
        **({} if lost is None else _left_behind(lost, time)),
        **time.stamp(),
        "phase": "running",
        "token": found.token + 1,
        "worker": worker,
        "session": session,
        "position": position,
        "begun": _instant(time),
    }
    record = call_record(begun)
    assert record is not None
    waited_us = time.at - _int(state, "refused") if state.get("refused") else 0
    return Decided(begun, Begun(record, waited_us, lost), _told(call_id, "running"))


def finish(
    state: State | None, now: int, *, call_id: str, token: int, result: str, unsaid_us: int = 0
) -> Decided[bool]:
    """Record the result; whether it counts: nobody else has begun the call since, nor cancelled it.

    Asked again, as when the answer was lost, it answers the same.

    unsaid_us: for how long it could not be recorded.
    """
    if state is not None and state.get("result") == result and _is_held(state, token, "done"):
        return Decided(state, True)  # noqa: FBT003  # the result of the decision
    if state is None or not _is_held(state, token, "running", "queued"):
        return Decided(state, result=False)
    done: State = {
        **_without(state, "call", "late", "refused", "position", "lost"),
        **moment(state, now).stamp(),
        "phase": "done",
        "result": result,
    }
    if unsaid_us > 0:
        done["unsaid"] = unsaid_us
    return Decided(done, True, _told(call_id, "done"))  # noqa: FBT003  # the result of the decision


def put_back(
    state: State | None,
    now: int,
    *,
    call_id: str,
    token: int,
    was_refused: bool = False,
    left: Left = Left("drained"),  # noqa: B008  # it is immutable
) -> Decided[bool]:
    """Leave a call to whoever takes its message next; whether it was still this attempt's.

    was_refused: nobody was called, since a policy said not now; else the time for which that may go on begins anew.
    left: what the attempt came to, for whoever wants to know later.
    """
    found = call_record(state)
    if state is None or found is None or not _is_held(state, token, "running"):
        return Decided(state, result=False)
    time = moment(state, now)
    queued: State = {
        **_without(state, "worker", "session", "position", "refused", "held", "held_for"),
        **time.stamp(),
        "phase": "queued",
        "past": after_attempt(found, _since_epoch(time), left),
        "free": _instant(time),
    }
    if left.delay_us > 0:
        queued |= {"held": _instant(time) + left.delay_us, "held_for": left.why}
    if was_refused:
        queued["refused"] = state.get("refused") or _int(state, "begun")
    return Decided(queued, True, _told(call_id, "queued"))  # noqa: FBT003  # the result of the decision


def lose(state: State | None, now: int, *, call_id: str, token: int) -> Decided[bool]:
    """Leave a call to others whose worker is gone. He may end it all the same, until somebody else has begun it."""
    if state is None or not _is_held(state, token, "running"):
        return Decided(state, result=False)
    time = moment(state, now)
    late = _instant(time) + _int(state, "patience")
    queued: State = {
        **_without(state, "position"),
        **time.stamp(),
        "phase": "queued",
        "late": late,
        "lost": _instant(time),
    }
    return Decided(queued, True, _told(call_id, "queued"))  # noqa: FBT003  # the result of the decision


def cancel(state: State | None, now: int, *, call_id: str, owner: str | None, by: str) -> Decided[CallRecord | None]:
    """End a call that is not done; its record, if it was not. owner: only if it is still his; None: whosever it is."""
    if state is None or state["phase"] not in ("queued", "running"):
        return Decided(state, None)
    if owner is not None and state.get("owner") != owner:
        return Decided(state, None)
    return _cancelled(state, now, call_id=call_id, by=by)


def abandon(
    state: State | None, now: int, *, call_id: str, round_: int, position: str, reason: str
) -> Decided[CallRecord | None]:
    """Give a call up whose message became a dead letter; its record, if that ended it.

    Not where another message has brought it to a worker. What it asks for is kept: the letter may be requeued.
    """
    if state is None or state["phase"] not in ("queued", "running") or state["round"] != round_:
        return Decided(state, None)
    if state["phase"] == "running" and state.get("position") != position:
        return Decided(state, None)
    time = moment(state, now)
    given_up: State = {
        **_without(state, "late", "refused", "position"),
        **time.stamp(),
        "phase": "done",
        "given_up": "abandoned",
        "reason": reason[:1000],
        # Whoever is at work on it all the same is past it.
        "token": _int(state, "token") + 1,
    }
    return Decided(given_up, call_record(given_up), _told(call_id, "done"))


def expire(state: State | None, now: int, *, call_id: str) -> Decided[CallRecord | None]:
    """End a call that nobody has begun in time; its record, if that is so."""
    if state is None or state["phase"] != "queued" or not _is_late(state, moment(state, now)):
        return Decided(state, None)
    late = _late(state, moment(state, now))
    return Decided(late, call_record(late), _told(call_id, "done"))


def _submitted(state: State, *, is_new: bool, before: str = "") -> Submitted:
    record = call_record(state)
    assert record is not None
    return Submitted(record, is_new, before)


def _cancelled(state: State, now: int, *, call_id: str, by: str) -> Decided[CallRecord | None]:
    ended: State = {
        **_without(state, "call", "late", "refused", "position"),
        **moment(state, now).stamp(),
        "phase": "cancelled",
        "reason": by[:1000],
    }
    signals = _told(call_id, "cancelled")
    if state["phase"] == "running":
        signals += (Signal(f"worker/{state['worker']}", call_id),)
    return Decided(ended, call_record(ended), signals)


def _left_behind(lost: CallRecord, time: Moment) -> State:
    """What stays of an attempt whose worker is not heard of any more."""
    lost_us = lost.lost_us or _since_epoch(time)
    return {
        "past": after_loss(lost, lost_us),
        "free": max(1, lost_us - time.t0_s * SECOND),
        "held": 0,
        "held_for": "",
    }


def _late(state: State, time: Moment) -> State:
    return {
        **_without(state, "call", "late", "refused", "position"),
        **time.stamp(),
        "phase": "done",
        "given_up": "late",
        "reason": f"nobody has begun it within {_int(state, 'patience') / SECOND:g} s",
    }


def _is_late(state: State, time: Moment) -> bool:
    late = _int(state, "late")
    return late > 0 and time.at >= late


def _is_held(state: State, token: int, *phases: CallPhase) -> bool:
    return state["token"] == token and state["phase"] in phases


def _without(state: State, *names: str) -> State:
    return {name: value for name, value in state.items() if name not in names}


def _told(call_id: str, phase: CallPhase) -> tuple[Signal, ...]:
    return (Signal(f"call/{call_id}", phase),)


def _instant(time: Moment) -> int:
    # 0 stands for never.
    return max(1, time.at)


def _since_epoch(time: Moment) -> int:
    return time.t0_s * SECOND + time.at


def _int(state: State, name: str) -> int:
    return int(cast("int", state.get(name) or 0))
