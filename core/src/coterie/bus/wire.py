"""Between events and the messages of their topic: what is sent and what is believed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from coterie._rules.log import Logged, Message, Retention
from coterie._rules.timeline import SECOND
from coterie.bus.data import DataTypes
from coterie.bus.envelope import SIGNATURE, parsed, text_of
from coterie.bus.event import CloudEvent
from coterie.bus.names import REPLIES
from coterie.bus.signing import Signing
from coterie.clock import Clock
from coterie.errors import MalformedEvent, OversizedMessage, UntrustedEvent
from coterie.events import Event, Listener
from coterie.ports import LogStore

__all__ = ["UNREADABLE", "Wire"]

# What makes a message no event, wherever it is read.
UNREADABLE = (MalformedEvent, UntrustedEvent, OversizedMessage)

_log = logging.getLogger("coterie.bus")


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
            MalformedEvent: its data are not what its type asks for. OversizedMessage: it is too large.
        """
        if self.types is not None:
            self.types.check(event.type, event.data)
        document = event.to_dict()
        if self.signing is not None:
            signed = self.signing.sign(document, namespace=self.log.namespace, topic=self.topic, now_s=self.clock.now())
            document[SIGNATURE] = signed
        text = text_of(document)
        self._check_size(event.type, text)
        return Message(event.id, event.type, text, event.key, event.priority)

    def event(self, logged: Logged) -> CloudEvent:
        """The event that a message is.

        Raises:
            MalformedEvent, UntrustedEvent, OversizedMessage: it is none that may be handed out.
        """
        message = logged.message
        self._check_size(message.type, message.text)
        document = parsed(message.text)
        if self.signing is not None:
            self.signing.verify(document, namespace=self.log.namespace, topic=self.topic, arrived_s=logged.at / SECOND)
        event = CloudEvent.from_dict(document)
        if (event.id, event.type, event.key, event.priority) != (
            message.id,
            message.type,
            message.key,
            message.priority,
        ):
            raise MalformedEvent(
                f"an event {event.type!r} was appended under the id, type, key or priority of another; publish events "
                "with an EventBus"
            )
        if event.reply_to is not None and not event.reply_to.startswith(REPLIES):
            raise MalformedEvent(
                f"an event {event.type!r} wants its answer sent to {event.reply_to!r}; answers go to topics that begin "
                f"with {REPLIES!r}"
            )
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
