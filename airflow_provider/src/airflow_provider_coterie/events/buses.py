"""Buses on a connection's log of events, as tasks and triggers use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coterie.errors import Misuse

if TYPE_CHECKING:
    from coterie.bus import EventBus
    from coterie.ports import LogStore

__all__ = ["TOPIC", "bus_on", "checked_topic", "traceparent_here"]

# Where nobody names another.
TOPIC = "events"


def bus_on(log: LogStore, topic: str = TOPIC, *, source: str = "airflow") -> EventBus:
    """The bus of a topic; what it sends is signed, and what it hands out was, as `COTERIE_SIGNING_KEYS` says.

    Raises:
        PolicyError: it says what cannot be.
    """
    from coterie.bus import EventBus, Signing

    return EventBus(log, topic=topic, source=source, signing=Signing.from_environment())


def checked_topic(topic: object) -> str:
    """The topic of an argument; the store looks at it more closely.

    Raises:
        Misuse: it is none.
    """
    if not isinstance(topic, str) or not topic:
        raise Misuse(f"the topic is {topic!r}; give its name, such as 'events'")
    return topic


def traceparent_here() -> str | None:
    """The trace that this process works for, as W3C Trace Context has it; None where there is none."""
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent")
