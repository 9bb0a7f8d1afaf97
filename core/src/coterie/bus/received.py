"""An event in the hands of a consumer, who says what became of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie._rules.log import Delivery, Failure, Position
from coterie._rules.timeline import SECOND
from coterie.bus.event import CloudEvent
from coterie.telemetry.logs import cleaned

if TYPE_CHECKING:
    from coterie.bus.subscription import Subscription

__all__ = ["Received", "backoff_s"]


class Received:
    """An event that this consumer holds until it says what became of it, leaves, or dies.

    event: what was published. number: of the delivery to this group, from 1. failures: what came of the others.
    position: where it lies. at: when it was appended, in seconds since the epoch by the store's clock.
    """

    __slots__ = ("_subscription", "consumer", "delivery", "event", "is_settled")

    def __init__(self, event: CloudEvent, delivery: Delivery, subscription: Subscription, consumer: str) -> None:
        self.event = event
        self.delivery = delivery
        self.consumer = consumer
        self.is_settled = False
        self._subscription = subscription

    def __repr__(self) -> str:
        return f"Received({self.event.name!r}, position={self.position!r}, number={self.number})"

    @property
    def number(self) -> int:
        """Of the delivery, from 1."""
        return self.delivery.number

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What came of the deliveries before, the earliest first."""
        return self.delivery.failures

    @property
    def position(self) -> Position:
        """Where it lies in its topic."""
        return self.delivery.logged.position

    @property
    def at(self) -> float:
        """When it was appended, in seconds since the epoch by the store's clock."""
        return self.delivery.logged.at / SECOND

    async def ack(self) -> None:
        """Be done with it. This goes to the store with the next that are taken, or 50 ms later; it never fails."""
        self._subscription.settle_done(self)

    async def fail(self, reason: str | BaseException, *, retry_in_s: float | None = None) -> bool:
        """Have it delivered again, later. False: it had been delivered too often, and is a dead letter now.

        retry_in_s: how much later; None: by the subscription's back-off, at random, longer after each failure.

        Raises:
            Unavailable: the store did not answer.
        """
        return await self._subscription.give_back(self, said(reason), retry_in_s)

    async def release(self, *, retry_in_s: float = 0.0) -> None:
        """Have it delivered again, without a failure being noted, or this delivery counted.

        Raises:
            Unavailable: the store did not answer.
        """
        await self._subscription.give_back(self, None, retry_in_s)

    async def reject(self, reason: str | BaseException) -> None:
        """Make it a dead letter at once.

        Raises:
            Unavailable: the store did not answer.
        """
        await self._subscription.reject(self, said(reason))

    async def reply(self, data: JsonValue = None) -> None:
        """Answer whoever asked. Nothing is sent where nobody did.

        Raises:
            MalformedEvent, OversizedMessage: that is no answer. Unavailable: the store did not answer.
        """
        await self._subscription.reply(self.event, data)


def said(reason: str | BaseException) -> str:
    """A reason as a text, without credentials; also of an error that cannot say what it is."""
    if isinstance(reason, str):
        return cleaned(reason)
    try:
        return cleaned(f"{type(reason).__name__}: {reason}")
    # Of whoever wrote the error: a consumer does not end by it.
    except Exception:  # noqa: BLE001
        return type(reason).__name__


def backoff_s(number: int, base_s: float, cap_s: float) -> float:
    """How long to wait after the delivery of this number: full jitter, as of `coterie.Retry`."""
    return random.uniform(0.0, min(cap_s, base_s * 2.0 ** min(number - 1, 60)))  # noqa: S311  # spreads load, no secret
