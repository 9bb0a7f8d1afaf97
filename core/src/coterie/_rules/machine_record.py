"""What is kept of a machine: where it is (`Head`, of bounded size), and a record of each visit; as JSON text.

Numbers, not contents: the head says in which visits an output, an error or an event is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from coterie._json import JsonValue
from coterie._rules.journal_text import FORMAT, dumped, parsed
from coterie._rules.timeline import Moment

__all__ = ["Cause", "EndStatus", "Error", "Head", "Phase", "Visit"]

Phase: TypeAlias = Literal["acting", "waiting", "over"]
# How a machine ended.
EndStatus: TypeAlias = Literal["succeeded", "failed", "cancelled"]


class Error(NamedTuple):
    """Why an action failed, or a machine that no transition caught."""

    type: str
    message: str

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


class Cause(NamedTuple):
    """Why a visit is left: the trigger, and what came with it."""

    trigger: str
    result: Mapping[str, JsonValue] | None = None
    event_id: str = ""
    payload: JsonValue = None
    who: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a machine is.

    time: the machine's own. version: the hash of its definition. visit: its number, from 1; each state entered is one.
    entered: the store's clock then, in microseconds since the epoch. due: when the time-out is, in the machine's time.
    visits: how often each state was entered. outputs, errors: in which visit the action of a state last succeeded, and
    last failed. event: the visit that the last event left.
    """

    time: Moment
    version: str
    state: str
    visit: int
    phase: Phase
    entered: int
    due: int | None = None
    visits: Mapping[str, int] = field(default_factory=dict)
    outputs: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    event: int | None = None
    status: EndStatus | None = None
    error: Error | None = None

    def text(self) -> str:
        """What is stored."""
        document: dict[str, Any] = {
            **self.time.stamp(),
            "def": self.version,
            "state": self.state,
            "visit": self.visit,
            "phase": self.phase,
            "entered": self.entered,
            "visits": dict(self.visits),
            "outputs": dict(self.outputs),
            "errors": dict(self.errors),
        }
        for name in ("due", "event", "status"):
            if getattr(self, name) is not None:
                document[name] = getattr(self, name)
        if self.error is not None:
            document["error"] = self.error._asdict()
        return dumped(document)

    @staticmethod
    def read(text: str, what: str) -> Head:
        """The head behind a text.

        Raises:
            StateFormatError: it is none, or a newer coterie wrote it.
        """
        found = parsed(text, what)
        error = found.get("error")
        return Head(
            Moment(found["t0"], found["at"]),
            found["def"],
            found["state"],
            found["visit"],
            found["phase"],
            found["entered"],
            found.get("due"),
            found["visits"],
            found["outputs"],
            found["errors"],
            found.get("event"),
            found.get("status"),
            Error(**error) if error else None,
        )


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit of a state, once it has been left, or its action has ended.

    number: from 1. entered, left: the store's clock, in microseconds since the epoch. trigger: what left it; None while
    it goes on. to: the state that was entered next; None where the machine ended. passed: states that were entered as
    often as they may be, and so passed over. result: how the action ended; its output lies with the task. event_id,
    payload, who: of the event, if one left it.
    """

    number: int
    state: str
    entered: int
    left: int | None = None
    trigger: str | None = None
    to: str | None = None
    passed: tuple[str, ...] = ()
    result: Mapping[str, JsonValue] | None = None
    event_id: str = ""
    payload: JsonValue = None
    who: str = ""

    @property
    def error(self) -> Error | None:
        """Why its action failed, if it did."""
        found = None if self.result is None else self.result.get("error")
        return Error(str(found["type"]), str(found["message"])) if isinstance(found, Mapping) else None

    def text(self) -> str:
        """What is stored."""
        document: dict[str, Any] = {"v": FORMAT, "n": self.number, "state": self.state, "entered": self.entered}
        for name in ("left", "trigger", "to", "result", "payload"):
            if getattr(self, name) is not None:
                document[name] = getattr(self, name)
        more = {"passed": list(self.passed), "id": self.event_id, "who": self.who}
        return dumped({**document, **{name: value for name, value in more.items() if value}})

    @staticmethod
    def read(text: str, what: str) -> Visit:
        """The visit behind a text.

        Raises:
            StateFormatError: it is none, or a newer coterie wrote it.
        """
        found = parsed(text, what)
        return Visit(
            found["n"],
            found["state"],
            found["entered"],
            found.get("left"),
            found.get("trigger"),
            found.get("to"),
            tuple(found.get("passed", ())),
            found.get("result"),
            found.get("id", ""),
            found.get("payload"),
            found.get("who", ""),
        )
