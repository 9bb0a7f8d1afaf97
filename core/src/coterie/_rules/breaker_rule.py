"""How a circuit breaker decides: `(state, now, name, terms, asked)`, with arguments and results as JSON.

`coterie._rules.breaker` says what each of these promises.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from coterie._json import JsonValue
from coterie._rules.breaker_course import Course
from coterie._rules.breaker_policy import Terms
from coterie._rules.breaker_state import Round
from coterie._rules.decided import Decided, State
from coterie._rules.window import FAILED, SLOW, Counts, exceeds, open_window, take

__all__ = ["decide_admit", "decide_force", "decide_look", "decide_record", "decide_reset", "decide_settle"]


def decide_record(
    state: State | None, now: int, name: str, wire: dict[str, Any], asked: dict[str, Any]
) -> Decided[JsonValue]:
    """Count ended calls, up to the one that opens the breaker."""
    course = Course(state, now, name, wire)
    breaker, terms = course.breaker, course.terms
    if asked["generation"] == breaker.generation and breaker.state in ("closed", "metrics_only"):
        window = open_window(terms, breaker.counted, course.at)
        if take(window, terms, asked["runs"], judge=breaker.state == "closed"):
            course.open(asked["chance"])
        else:
            course.count(window)
    return course.decided()


def decide_admit(
    state: State | None, now: int, name: str, wire: dict[str, Any], asked: dict[str, Any]
) -> Decided[JsonValue]:
    """Let a call pass, as a trial call with a permit, or refuse it."""
    course, permit_id = Course(state, now, name, wire), asked["permit"]
    if course.breaker.state == "open" and course.breaker.until <= course.at:
        course.begin_round(asked["chance"])
    trial = course.breaker.round
    if trial is None:
        return course.decided_admission(None)
    out = trial.out(course.at)
    if permit_id not in out:
        if len(out) + trial.settled >= course.terms.probes:
            return course.decided_admission(None)
        deadline = min(course.at + course.terms.probe_timeout, trial.deadline)
        course.set_round(
            replace(
                trial,
                permits={**out, permit_id: deadline},
                admitted=trial.admitted + 1,
                expired=trial.expired + len(trial.permits) - len(out),
            )
        )
    return course.decided_admission(permit_id)


def decide_settle(
    state: State | None, now: int, name: str, wire: dict[str, Any], asked: dict[str, Any]
) -> Decided[JsonValue]:
    """Take a permit back, and judge the trial."""
    course, permit_id, code = Course(state, now, name, wire), asked["permit"], asked["code"]
    trial = course.breaker.round
    out = {} if trial is None else trial.out(course.at)
    if trial is None or asked["generation"] != course.breaker.generation or permit_id not in out:
        return course.decided()
    permits = {permit: deadline for permit, deadline in trial.permits.items() if permit != permit_id}
    if code == "i":
        course.set_round(replace(trial, permits=permits, returned=trial.returned + 1))
        if len(out) + trial.settled >= course.terms.probes:
            # Who was refused for want of a permit may ask again.
            course.tell()
        return course.decided()
    trial = replace(
        trial,
        permits=permits,
        settled=trial.settled + 1,
        failed=trial.failed + FAILED[code],
        slow=trial.slow + SLOW[code],
    )
    course.set_round(trial)
    verdict = _verdict(course.terms, trial)
    if verdict == "open":
        course.open(asked["chance"])
    elif verdict == "closed":
        course.close()
    return course.decided()


def decide_force(
    state: State | None, now: int, name: str, wire: dict[str, Any], asked: dict[str, Any]
) -> Decided[JsonValue]:
    """Do what a person asks for."""
    course = Course(state, now, name, wire)
    standing, to = course.breaker.state, asked["to"]
    if to == "open":
        course.open(asked["chance"], again=True)
    elif to == "auto":
        if standing in ("forced_open", "disabled", "metrics_only"):
            course.close()
    elif to == "closed":
        if standing != "closed":
            course.close()
    elif to != standing:
        course.become(to)
    return course.decided()


def decide_reset(state: State | None, now: int, name: str, wire: dict[str, Any]) -> Decided[JsonValue]:
    """Close, and forget."""
    course = Course(state, now, name, wire)
    course.close()
    return course.decided()


def decide_look(state: State | None, now: int, name: str, wire: dict[str, Any]) -> Decided[JsonValue]:
    """See what holds."""
    return Decided(state, {**Course(state, now, name, wire).seen(), "changed": ""})


def _verdict(terms: Terms, trial: Round) -> Literal["open", "closed", ""]:
    if terms.mode == "consecutive":
        if trial.failed:
            return "open"
        return "closed" if trial.settled >= terms.successes else ""
    if trial.settled < terms.probes:
        return ""
    return "open" if exceeds(terms, Counts(trial.settled, trial.failed, trial.slow)) else "closed"
