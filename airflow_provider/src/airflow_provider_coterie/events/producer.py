"""One consumer of a group of the bus, shared by all triggers of a process that are the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome, SharedStreamProducer

from airflow_provider_coterie.events.buses import bus_on
from airflow_provider_coterie.outlook import log_outlook
from airflow_provider_coterie.triggers import RECONCILE_S, RECOVER_S, spread
from coterie.bus import Received, Subscription
from coterie.errors import CoterieError

__all__ = ["Arrived", "EventProducer"]

_log = logging.getLogger(__name__)

# Events are held until Airflow has stored what was made of them, which takes it a second or two.
PREFETCH = 100
# Nobody listened when the event came: a trigger that begins anew needs so long.
_NOBODY_S = 2.0


@dataclass(slots=True)
class Arrived:
    """A CloudEvent as the triggers see it. refused: why some of them could make nothing of it."""

    event: dict[str, Any]
    refused: list[str] = field(default_factory=list)


class _Held(NamedTuple):
    received: Received
    arrived: Arrived


class EventProducer(SharedStreamProducer):
    """Hands out the events of a group; each is acknowledged when every trigger's share of it is stored.

    What a trigger refuses is a dead letter. What Airflow failed to store in time is delivered again, and a dead letter
    after `max_deliveries`. What is no event never gets here: the bus makes it a dead letter by itself.
    """

    def __init__(
        self,
        *,
        coterie_conn_id: str,
        topic: str,
        types: Sequence[str],
        group: str,
        begin: Literal["begin", "end"],
        max_deliveries: int,
    ) -> None:
        self.coterie_conn_id = coterie_conn_id
        self.topic = topic
        self.types = tuple(types)
        self.group = group
        self.begin = begin
        self.max_deliveries = max_deliveries
        self._open = AsyncExitStack()

    async def open_stream(self) -> AsyncIterator[tuple[Arrived, _Held]]:
        """The events, without end; a store that does not answer is waited for."""
        # Closed by `aclose` alone: when this is cancelled, some are still to be acknowledged.
        subscription = await self._subscribed()
        async for received in subscription:
            arrived = Arrived(received.event.to_dict())
            yield arrived, _Held(received, arrived)

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Tell the bus what became of events.

        Raises:
            Unavailable: it could not be told; the stream begins anew.
        """
        for item in batch:
            await _settle(item.broker_payload, item.outcome)

    def get_advance_lane(self, broker_payload: Any) -> Hashable:
        """Each event by itself: the bus knows them one by one."""
        return broker_payload.received.position  # type: ignore[no-any-return]  # of `_Held`

    async def aclose(self) -> None:
        """Leave the group; what is not acknowledged goes to whoever comes next."""
        await self._open.aclose()

    async def _subscribed(self) -> Subscription:
        recover_s = RECOVER_S
        while True:
            try:
                return await self._begun()
            # A store comes back by itself, and a connection that is missing, or wrong, is mended by people.
            except CoterieError as error:
                _log.warning("events.not_received %s: %s; trying again in %.0f s", self.topic, error, recover_s)
            await asyncio.sleep(spread(recover_s))
            recover_s = min(2 * recover_s, RECONCILE_S)

    async def _begun(self) -> Subscription:
        async with AsyncExitStack() as opening:
            log = await opening.enter_async_context(log_outlook(self.coterie_conn_id, None))
            subscription = bus_on(log, self.topic).subscribe(
                *self.types,
                group=self.group,
                begin=self.begin,
                prefetch=PREFETCH,
                max_deliveries=self.max_deliveries,
            )
            begun = await opening.enter_async_context(subscription)
            self._open = opening.pop_all()
            return begun


async def _settle(held: _Held, outcome: AdvanceOutcome) -> None:
    received, arrived = held
    if outcome.rejected:
        await received.reject("; ".join(arrived.refused) or "a trigger of Airflow's refused it")
    elif outcome.failed:
        await received.fail("Airflow did not store in time what was made of it")
    elif outcome.acked:
        await received.ack()
    else:
        await received.release(retry_in_s=_NOBODY_S)
