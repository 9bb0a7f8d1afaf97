"""Between events and the messages of their topic: what is sent and what is believed."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from coterie._rules.log import Logged, Message, Retention
from coterie._rules.timeline import SECOND
from coterie.bus.data import DataTypes
from coterie.bus.envelope import SIGNATURE, parsed, text_of
from coterie.bus.event import CloudEvent
from coterie.bus.names import REPLIES, is_for_replies
from coterie.bus.signing import Signing
from coterie.clock import Clock
from coterie.errors import MalformedEvent, OversizedMessage, UntrustedEvent
from coterie.events import Event, Listener
from coterie.ports import LogStore
from coterie.telemetry.logs import guarded

__all__ = ["UNREADABLE", "Wire", "event_id", "message_id"]

# What makes a message no event, wherever it is read.
UNREADABLE = (MalformedEvent, UntrustedEvent, OversizedMessage)

_log = guarded("coterie.bus")

_IDENTITY = re.compile(r"[0-9a-f]{32} (.+)\Z")


@dataclass(frozen=True, slots=True)
class Wire:
    """One topic, and the terms on which events go in and come out."""

    log: LogStore
    topic: str
    source: str
    retention: Retention
    signing: Signing | None
    types: DataTypes | None
    max_bytes: int
    clock: Clock
    on_event: Listener | None

    def message(self, event: CloudEvent) -> Message:
        """What is appended of an event, signed now.

        Raises:
            MalformedEvent: its data are not what its type asks for, or its answer may not go where it says.
            OversizedMessage: it is too large.
        """
        _check_reply_to(event)
        if self.types is not None:
            self.types.check(event.type, event.data)
        document = event.to_dict()
        if self.signing is not None:
            signed = self.signing.sign(document, namespace=self.log.namespace, topic=self.topic, now_s=self.clock.now())
            document[SIGNATURE] = signed
        try:
            text = text_of(document)
        # A number of more digits than Python converts.
        except ValueError as error:
            raise MalformedEvent(f"an event {event.type!r} has data that are no JSON: {error}; mend them") from None
        self._check_size(event.type, text)
        return Message(message_id(event), event.type, text, event.key, event.priority)

    def event(self, logged: Logged) -> CloudEvent:
        """The event that a message is.

        Raises:
            MalformedEvent, UntrustedEvent, OversizedMessage: it is none that may be handed out.
        """
        message = logged.message
        text = message.text
        if len(text) > self.max_bytes or not text.isascii():
            self._check_size(message.type, text)
        document = parsed(text)
        if self.signing is not None:
            self.signing.verify(document, namespace=self.log.namespace, topic=self.topic, arrived_s=logged.at / SECOND)
        event = CloudEvent.from_dict(document)
        if (message_id(event), event.type, event.key, event.priority) != (
            message.id,
            message.type,
            message.key,
            message.priority,
        ):
            raise MalformedEvent(
                f"an event {event.type!r} was appended under the id, source, type, key or priority of another; publish "
                "events with an EventBus"
            )
        _check_reply_to(event)
        if self.types is not None:
            self.types.check(event.type, event.data)
        return event

    def tell(self, level: int, name: str, said: str, **fields: Any) -> None:
        """Tell people of what happened, and whoever listens."""
        _log.log(level, "%s: %s", name, said)
        if self.on_event is not None:
            try:
                self.on_event(Event(name, fields={"topic": self.topic, **fields}))
            # A listener's failure is its own, and no reason for a consumer to end.
            except Exception:  # noqa: BLE001
                _log.exception("the listener on_event failed at %s", name)

    def _check_size(self, type_: str, text: str) -> None:
        try:
            size = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError as error:
            raise MalformedEvent(f"an event {type_!r} holds half a character: {error.reason}; mend its text") from None
        if size > self.max_bytes:
            raise OversizedMessage(f"an event {type_!r}", size_bytes=size, limit_bytes=self.max_bytes)


def message_id(event: CloudEvent) -> str:
    """By which a topic knows an event again: its source and its id, which together set it apart from all others."""
    return f"{_digest(event.source)} {event.id}"


def event_id(message: Message) -> str:
    """The id of the event that a message of a bus is; of others, their own."""
    found = _IDENTITY.match(message.id)
    return found[1] if found else message.id


@lru_cache(1024)
def _digest(source: str) -> str:
    # A source may be longer than what stores take as an id.
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def _check_reply_to(event: CloudEvent) -> None:
    if event.reply_to is not None and not is_for_replies(event.reply_to):
        raise MalformedEvent(
            f"an event {event.type!r} wants its answer sent to {event.reply_to!r:.120}; answers go to topics that "
            f"begin with {REPLIES!r}, and have at most 200 letters, digits and '._-/'"
        )
