"""Events between agents, services and people: published to a topic, kept there, and received by whoever subscribes."""

from __future__ import annotations

from coterie._rules.log import Retention
from coterie.bus.bus import EventBus
from coterie.bus.data import DataTypes
from coterie.bus.event import CloudEvent
from coterie.bus.forward import BusListener
from coterie.bus.letters import DeadEvent
from coterie.bus.names import full_pattern, full_type, short_type
from coterie.bus.publishing import Published
from coterie.bus.reading import Recorded
from coterie.bus.received import Received
from coterie.bus.signing import Signing
from coterie.bus.subscription import Subscription

__all__ = [
    "BusListener",
    "CloudEvent",
    "DataTypes",
    "DeadEvent",
    "EventBus",
    "Published",
    "Received",
    "Recorded",
    "Retention",
    "Signing",
    "Subscription",
    "full_pattern",
    "full_type",
    "short_type",
]
