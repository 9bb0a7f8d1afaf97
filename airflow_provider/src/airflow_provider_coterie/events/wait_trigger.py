"""Waiting without a worker for an event, for sensors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_coterie.events.buses import bus_on
from airflow_provider_coterie.events.match import Matching
from airflow_provider_coterie.events.waiting import awaited
from airflow_provider_coterie.outlook import log_outlook
from airflow_provider_coterie.resuming import ResumingTrigger
from airflow_provider_coterie.triggers import RECONCILE_S, RECOVER_S, spread
from coterie.errors import Unavailable

if TYPE_CHECKING:
    from coterie.bus import CloudEvent

__all__ = ["CoterieEventWaitTrigger"]


class CoterieEventWaitTrigger(ResumingTrigger):
    """Wait for the first event that is as wanted; fires once. Those of one triggerer share a connection.

    since: a position, or seconds since the epoch: a new triggerer looks from there on again.

    The event is `{"event": …}`, a CloudEvent as a dict.
    """

    def __init__(
        self,
        *,
        coterie_conn_id: str,
        topic: str,
        types: Sequence[str],
        where: Mapping[str, Any],
        since: str | float,
        executor: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.coterie_conn_id = coterie_conn_id
        self.topic = topic
        self.types = list(types)
        self.where = dict(where)
        self.since = since
        self.executor = executor

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the trigger is made of again, in whatever triggerer."""
        names = ("coterie_conn_id", "topic", "types", "where", "since", "executor")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def awaited(self) -> dict[str, Any]:
        """The event."""
        recover_s, found = RECOVER_S, None
        while found is None:
            try:
                found = await self._come()
            except Unavailable as error:
                self.log.warning("events.not_read: %s; looking again in %.0f s", error, recover_s)
                await asyncio.sleep(spread(recover_s))
                recover_s = min(2 * recover_s, RECONCILE_S)
        return {"event": found.to_dict()}

    async def _come(self) -> CloudEvent:
        matches = Matching(self.where)
        async with log_outlook(self.coterie_conn_id, self.executor) as log:
            self.log.info("%s", awaited(log, self.topic, self.types, self.where, since=self.since))
            bus = bus_on(log, self.topic)
            return await bus.wait_for(*self.types, where=lambda event: matches(event.to_dict()), since=self.since)
