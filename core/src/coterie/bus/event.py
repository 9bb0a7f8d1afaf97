"""One event, as CloudEvents 1.0 has it in structured JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from coterie._json import JsonValue, require_json
from coterie.bus.envelope import (
    LAST_S,
    Extension,
    check,
    checked_extensions,
    is_plain,
    parsed,
    read,
    seconds_of,
    text_of,
    time_of,
    written,
)
from coterie.bus.names import full_type, short_type
from coterie.errors import MalformedEvent, Misuse
from coterie.ids import new_workflow_id

__all__ = ["CloudEvent"]


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """Something that happened, or that is asked for.

    type: of coterie's own the short name may be given, `task.completed`; other types are their owners', by custom with
        a domain's reversed name in front: `com.example.order.placed`.
    data: any JSON value.
    source: who says so: a URI reference. source and id together set it apart from all others.
    id, time: by default a UUIDv7, and now; in UTC, as RFC 3339 has it. The time of an event that was read may be "".
    subject: what it is about. data_schema: a URI of what describes the data.
    key: events of one key reach each group of consumers in their order; "" has none.
    correlation_id: of all that belongs to one piece of work, such as a run. causation_id: the event that led to it.
    traceparent: as W3C Trace Context has it. priority: higher ones first, for subscriptions that want it so.
    reply_to: the topic that an answer goes to. expires_at: in seconds since the epoch; it is handed out no later.
    extensions: further attributes, each a text, a boolean, or a whole number of at most 31 bits.

    Raises:
        MalformedEvent: names the attribute that is wrong.
    """

    type: str
    data: JsonValue = None
    _: KW_ONLY
    source: str = "coterie"
    id: str = ""
    time: str = ""
    subject: str | None = None
    data_schema: str | None = None
    key: str = ""
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    priority: int = 0
    reply_to: str | None = None
    expires_at: float | None = None
    extensions: Mapping[str, Extension] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.type, str):
            _fix(self, "type", full_type(self.type))
        if not self.id:
            _fix(self, "id", new_workflow_id(int(time.time() * 1000)))
        if not self.time:
            _fix(self, "time", time_of(time.time()))
        if self.extensions != {}:
            _fix(self, "extensions", checked_extensions(self.extensions))
        if self.expires_at is not None and not _is_instant(self.expires_at):
            raise MalformedEvent(f"an event {self.type!r} has expires_at {self.expires_at!r}; give seconds since 1970")
        try:
            _fix(self, "data", require_json(self.data, "data"))
            check(self._values())
        except MalformedEvent:
            raise
        except Misuse as error:
            raise MalformedEvent(f"an event {self.type!r} has data that are no JSON: {error}") from None

    @property
    def name(self) -> str:
        """Its type, short where it is one of coterie's own: `task.completed`."""
        return short_type(self.type)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; attributes that are absent are left out."""
        return written(self._values(), self.extensions)

    def to_json(self) -> str:
        """The JSON text, without needless spaces."""
        return text_of(self.to_dict())

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> CloudEvent:
        """The event that a JSON object is. It is not copied: let nobody change it.

        Raises:
            MalformedEvent: names the attribute that is wrong, or missing.
        """
        if is_plain(document):
            return _plainly_made(document)
        values, extensions = read(document)
        return _made(values, extensions)

    @classmethod
    def from_json(cls, text: str | bytes) -> CloudEvent:
        """The event that a text is.

        Raises:
            MalformedEvent: it is no JSON object; or names the attribute that is wrong, or missing.
        """
        return cls.from_dict(parsed(text))

    def _values(self) -> tuple[Any, ...]:
        """In the order of `envelope.NAMES`."""
        return (
            self.type,
            self.source,
            self.id,
            self.time or None,
            time_of(self.expires_at) if self.expires_at is not None else None,
            self.key,
            self.subject,
            self.data_schema,
            self.correlation_id,
            self.causation_id,
            self.traceparent,
            self.reply_to,
            self.priority,
            self.data,
        )


def _is_instant(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < LAST_S


# How a frozen instance is given what it was not.
_fix = object.__setattr__


def _made(values: tuple[Any, ...], extensions: dict[str, Extension]) -> CloudEvent:
    """An event of values that have been checked, in the order of `envelope.NAMES`."""
    event = object.__new__(CloudEvent)
    for name, value in zip(_FIELDS, values, strict=True):
        _fix(event, name, value)
    if event.expires_at is not None:
        _fix(event, "expires_at", seconds_of("expirytime", values[4]))
    _fix(event, "time", event.time or "")
    _fix(event, "extensions", extensions)
    return event


_FIELDS = (
    "type", "source", "id", "time", "expires_at", "key", "subject", "data_schema", "correlation_id", "causation_id",
    "traceparent", "reply_to", "priority", "data",
)  # fmt: skip


class _Open:
    """The same attributes, not frozen yet: an event that is read is filled so, in a fifth of the time."""

    __slots__ = CloudEvent.__slots__


def _plainly_made(document: dict[str, Any]) -> CloudEvent:
    """An event of a document that `is_plain`."""
    get = document.get
    event: Any = _Open()
    event.type = document["type"]
    event.source = document["source"]
    event.id = document["id"]
    event.time = get("time", "")
    event.expires_at = None
    event.key = get("partitionkey", "")
    event.subject = get("subject")
    event.data_schema = get("dataschema")
    event.correlation_id = get("correlationid")
    event.causation_id = get("causationid")
    event.traceparent = get("traceparent")
    event.reply_to = get("replyto")
    event.priority = 0
    event.data = get("data")
    event.extensions = {}
    event.__class__ = CloudEvent
    made: CloudEvent = event
    return made
