"""What a person is asked before a run goes on, and what they decide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from dataclasses import field as part
from typing import Any, Literal, TypeAlias, get_args

from coterie._json import JsonValue
from coterie.errors import Misuse, PolicyError
from coterie.ids import check_name, content_hash

__all__ = ["Approval", "Decision", "Field", "FieldType", "FieldValue", "check_text", "misfit"]

FieldType: TypeAlias = Literal["string", "integer", "number", "boolean"]
FieldValue: TypeAlias = str | int | float | bool

MOST_QUESTION_CHARS = 500
MOST_CHOICES = 20
MOST_FIELDS = 20
MOST_ASSIGNEES = 100
MOST_NAME_CHARS = 200
MOST_VALUE_CHARS = 10_000
# As far as every engine's forms and every JSON reader keeps them.
MOST_NUMBER = 2**63

_TYPES = get_args(FieldType)
_REJECTS = ("reject",)
# Controls, halves of characters, and what turns the direction of the text around it.
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Forms have these beside the fields.
_TAKEN = ("choice", "note")
# Read by pydantic when a plan document is validated: an unknown field is an error, not a silent no-op.
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Field:
    """Something that a person fills in beside the choice.

    title: what they are shown; the field's name if empty. default: stands for a value that is not given.
    required: whether one must be given, unless the choice rejects. choices: the only values that may be, if any.

    Raises:
        PolicyError: an unknown type, or a default or choices that are not of it.
    """

    __pydantic_config__ = _STRICT

    type: FieldType = "string"
    title: str = part(default="", kw_only=True)
    default: FieldValue | None = part(default=None, kw_only=True)
    required: bool = part(default=False, kw_only=True)
    choices: Sequence[FieldValue] = part(default=(), kw_only=True)

    def __post_init__(self) -> None:
        with _as_policy():
            self._check()

    def _check(self) -> None:
        if self.type not in _TYPES:
            raise PolicyError(f"a field has the type {self.type!r}; use one of {', '.join(_TYPES)}")
        check_text(self.title, "the title of a field", most=MOST_NAME_CHARS)
        if type(self.required) is not bool:
            raise PolicyError(f"a field has required={self.required!r}; give true or false")
        choices = _listed(self.choices, "the choices of a field")
        object.__setattr__(self, "choices", choices)
        for value in choices if self.default is None else (*choices, self.default):
            wrong = misfit(self.type, value)
            if wrong is not None:
                raise PolicyError(f"a field cannot allow {value!r:.200}: {wrong}")
        if self.default is not None and choices and self.default not in choices:
            raise PolicyError(f"a field has the default {self.default!r}, which is none of its choices; add it to them")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without what has its default value."""
        return _document(self)


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person is asked; the task waits for the answer, and no agent is kept busy meanwhile.

    question: 1 to 500 characters of plain text. choices: what may be answered; rejects: which of them fail the task for
    good. fields: what is filled in beside the choice. timeout_s: how long after it was first asked an answer is waited
    for, on the journal's clock; on_timeout: the choice that is then taken, else the task fails. assignees: the user
    names that may answer; nobody named: anybody may.

    Raises:
        PolicyError: names what cannot work.
    """

    __pydantic_config__ = _STRICT

    question: str
    choices: Sequence[str] = part(default=("approve", "reject"), kw_only=True)
    rejects: Sequence[str] = part(default=_REJECTS, kw_only=True)
    fields: Mapping[str, Field] = part(default_factory=dict, kw_only=True)
    timeout_s: float | None = part(default=None, kw_only=True)
    on_timeout: str | None = part(default=None, kw_only=True)
    assignees: Sequence[str] = part(default=(), kw_only=True)

    def __post_init__(self) -> None:
        with _as_policy():
            self._check()

    def _check(self) -> None:
        set_ = object.__setattr__
        check_text(self.question, "the question of an approval", least=1, most=MOST_QUESTION_CHARS)
        set_(self, "choices", _names(self.choices, "the choices of an approval", most=MOST_CHOICES))
        set_(self, "rejects", _names(self.rejects, "the rejecting choices of an approval", most=MOST_CHOICES))
        set_(self, "fields", _fields(self.fields))
        set_(self, "assignees", _people(self.assignees))
        if not self.choices:
            raise PolicyError(f"the approval {self.question!r} has no choices; give one at least")
        unknown = [name for name in self.rejects if name not in self.choices]
        if unknown or len(self.rejects) == len(self.choices):
            problem = f"{unknown[0]!r} is none of its choices" if unknown else "they are all of its choices"
            default = "; that is the default: say which choices reject, or rejects: [] if none does"
            said = default if self.rejects == _REJECTS else ""
            raise PolicyError(f"the approval {self.question!r} has rejects={list(self.rejects)!r}: {problem}{said}")
        self._check_timeout()

    @property
    def version(self) -> str:
        """What the answer is an answer to: takes the place of an agent's version in fingerprints."""
        return content_hash(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without what has its default value."""
        return _document(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Approval:
        """Read the form that `to_dict` writes.

        Raises:
            Misuse: it is none.
        """
        try:
            given = {name: Field(**found) for name, found in document.get("fields", {}).items()}
            return cls(**{**document, "fields": given})
        except (TypeError, AttributeError) as error:
            raise Misuse(f"not an approval: {error}; pass what `Approval.to_dict` wrote") from error

    def _check_timeout(self) -> None:
        given, choice = self.timeout_s, self.on_timeout
        if given is not None:
            number = isinstance(given, (int, float)) and not isinstance(given, bool)
            if not (number and 0 < given < float("inf")):
                raise PolicyError(
                    f"the approval {self.question!r} has timeout_s {given!r}; give a number of seconds > 0"
                )
            # 60 and 60.0 are the same policy: they must give the plan the same hash.
            object.__setattr__(self, "timeout_s", float(given))
        if choice is None:
            return
        if given is None or choice not in self.choices:
            problem = "no timeout_s" if given is None else f"no such choice; its choices are {', '.join(self.choices)}"
            raise PolicyError(f"the approval {self.question!r} has on_timeout {choice!r}, and {problem}")
        missing = [name for name, one in self.fields.items() if one.required and one.default is None]
        if missing and choice not in self.rejects:
            raise PolicyError(
                f"the approval {self.question!r} takes {choice!r} when the time is over, and requires the field "
                f"{missing[0]!r}, which nobody fills in then; give it a default"
            )


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided: by whom, and when (seconds since the epoch).

    by: a user name; `timeout` where nobody decided in time. values: of the approval's fields, defaults included.
    """

    choice: str
    by: str
    at: float
    note: str = ""
    values: Mapping[str, JsonValue] = part(default_factory=dict)

    def to_dict(self) -> dict[str, JsonValue]:
        """The JSON form: the output of the task that asked."""
        return {
            "choice": self.choice,
            "by": self.by,
            "at": self.at,
            "note": self.note,
            "values": dict(self.values),
        }

    @classmethod
    def from_dict(cls, document: object) -> Decision:
        """Read the form that `to_dict` writes.

        Raises:
            Misuse: it is none.
        """
        try:
            return cls(**document)  # type: ignore[arg-type]  # what is no mapping of its fields is told below
        except TypeError as error:
            raise Misuse(f"not a decision: {error}; pass what `Decision.to_dict` wrote") from error


def check_text(given: object, what: str, *, least: int = 0, most: int, lines: bool = False) -> str:
    """The text, if it can be kept, and shown on any screen. lines: whether it may have several.

    Raises:
        Misuse: its length, or its characters.
    """
    if not isinstance(given, str) or not least <= len(given) <= most:
        raise Misuse(f"{what} is {given!r:.200}; give a text of {least} to {most:,} characters")
    if _UNSHOWN.search(given if not lines else given.replace("\n", "").replace("\t", "")):
        raise Misuse(f"{what} holds control characters or halves of characters: {given!r:.200}; give plain text")
    return given


def misfit(kind: FieldType, value: object) -> str | None:
    """Why a value is not of a field's type; None if it is."""
    if kind == "string":
        try:
            check_text(value, "a text", most=MOST_VALUE_CHARS, lines=True)
        except Misuse as error:
            return str(error)
        return None
    if kind == "boolean":
        fits = isinstance(value, bool)
    elif isinstance(value, bool) or not isinstance(value, int if kind == "integer" else (int, float)):
        fits = False
    else:
        # Also no NaN, which compares with nothing.
        fits = abs(value) < MOST_NUMBER
    return None if fits else f"{value!r:.200} is not of the type {kind}"


@contextmanager
def _as_policy() -> Iterator[None]:
    """Whatever is wrong within is a setting that cannot work."""
    try:
        yield
    except PolicyError:
        raise
    except Misuse as error:
        raise PolicyError(str(error)) from None


def _document(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in fields(value):
        one = getattr(value, each.name)
        if one != (each.default if each.default_factory is MISSING else each.default_factory()):
            found[each.name] = _plain(one)
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _document(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _listed(given: object, what: str) -> tuple[Any, ...]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Sequence):
        raise Misuse(f"{what} are {given!r:.200}; give a list")
    try:
        return tuple(dict.fromkeys(given))
    except TypeError as error:
        raise Misuse(f"{what} are {given!r:.200}; give plain values") from error


def _names(given: object, what: str, *, most: int) -> tuple[str, ...]:
    names = _listed(given, what)
    if len(names) > most:
        raise PolicyError(f"{what} are {len(names)}; give at most {most}")
    for name in names:
        check_name(name, f"of {what},")
    return names


def _fields(given: object) -> dict[str, Field]:
    if not isinstance(given, Mapping):
        raise Misuse(f"the fields of an approval are {given!r:.200}; pass a dict of coterie.Field by name")
    if len(given) > MOST_FIELDS:
        raise PolicyError(f"an approval has {len(given)} fields; give at most {MOST_FIELDS}")
    for name, one in given.items():
        check_name(name, "the field of an approval")
        if name in _TAKEN:
            raise PolicyError(f"an approval has a field {name!r}, as every form has; call it something else")
        if not isinstance(one, Field):
            raise Misuse(f"the field {name!r} of an approval is {one!r:.200}; pass a coterie.Field")
    return dict(given)


def _people(given: object) -> tuple[str, ...]:
    names = _listed(given, "the assignees of an approval")
    if len(names) > MOST_ASSIGNEES:
        raise PolicyError(f"an approval has {len(names)} assignees; give at most {MOST_ASSIGNEES}")
    for name in names:
        check_text(name, "an assignee of an approval", least=1, most=MOST_NAME_CHARS)
    return names
