"""Which answers to an approval may be given, and what is decided when nobody gives one in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from coterie._json import JsonValue
from coterie.approval import MOST_NAME_CHARS, Approval, Decision, Field, check_text, misfit
from coterie.errors import Misuse

__all__ = ["TIMEOUT", "Expired", "at_timeout", "checked"]

MOST_NOTE_CHARS = 2000
# By whom it is decided when nobody answers in time.
TIMEOUT = "timeout"


class Expired(NamedTuple):
    """Nobody answered in time, and nothing is chosen then."""

    at: float


def at_timeout(approval: Approval, now_s: float) -> Decision | Expired:
    """What is decided when nobody answers in time."""
    if approval.on_timeout is None:
        return Expired(now_s)
    return Decision(approval.on_timeout, TIMEOUT, now_s, "", _defaults(approval))


def checked(approval: Approval, given: Decision) -> Decision:
    """The answer, with the defaults of what was left out.

    Raises:
        Misuse: it is none that may be given; says what may.
    """
    if given.choice not in approval.choices:
        raise Misuse(f"{given.choice!r:.200} is no choice of {approval.question!r}; choose {_any_of(approval.choices)}")
    by = check_text(given.by, "the name of who answers", least=1, most=MOST_NAME_CHARS)
    if by == TIMEOUT:
        raise Misuse(f"{by!r} stands for nobody having answered in time; answer under another name")
    if approval.assignees and by not in approval.assignees:
        raise Misuse(f"{by!r} may not answer {approval.question!r}; {_any_of(approval.assignees)} may")
    if not isinstance(given.note, str):
        raise Misuse(f"the note is {given.note!r:.200}; give a text")
    note = check_text(given.note.replace("\r\n", "\n"), "the note", most=MOST_NOTE_CHARS, lines=True)
    return Decision(given.choice, by, round(given.at, 6), note, _values(approval, given))


def _values(approval: Approval, given: Decision) -> dict[str, JsonValue]:
    if not isinstance(given.values, Mapping):
        raise Misuse(f"the values are {given.values!r:.200}; give one by the name of each field")
    for name in given.values:
        if name not in approval.fields:
            known = _any_of(tuple(approval.fields)) if approval.fields else "none"
            raise Misuse(f"{approval.question!r} has no field {name!r:.200}; it has: {known}")
    values: dict[str, JsonValue] = {}
    for name, one in approval.fields.items():
        value = given.values.get(name)
        value = one.default if value is None else _fitting(name, one, value)
        if value is not None:
            values[name] = value
        elif one.required and given.choice not in approval.rejects:
            raise Misuse(f"the field {name!r} is required, and not given; give a value of the type {one.type}")
    return values


def _fitting(name: str, one: Field, value: JsonValue) -> JsonValue:
    wrong = misfit(one.type, value)
    if wrong is not None:
        raise Misuse(f"the field {name!r} cannot be that: {wrong}; give a value of the type {one.type}")
    if one.choices and value not in one.choices:
        raise Misuse(f"the field {name!r} cannot be {value!r:.200}; choose {_any_of(one.choices)}")
    return value


def _defaults(approval: Approval) -> dict[str, JsonValue]:
    return {name: one.default for name, one in approval.fields.items() if one.default is not None}


def _any_of(names: Sequence[object]) -> str:
    shown = [repr(name) for name in names]
    return shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"
