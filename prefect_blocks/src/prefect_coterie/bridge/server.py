"""The Prefect server as a bridge sees it: events are handed over, several at once, and it says that it has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeAlias
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventIDFilter, EventOccurredFilter
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from coterie.errors import Misuse, OversizedMessage
from prefect_coterie.bridge.patience import brief, patiently

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.events.schemas.events import Event

__all__ = ["Confirm", "Handover", "RefusedByPrefect"]

# What a handed over event waits for: that the server has it in its queue, or in its database.
Confirm: TypeAlias = Literal["accepted", "stored"]

_log = logging.getLogger("coterie.bridge")

_MOST_AT_ONCE = 50
_LOOK_S = 0.5
_REFUSALS = frozenset({400, 413, 422})
# The server writes them within 5 s; after so long it may have lost them, and they are handed over again.
_STORED_WITHIN_S = 20.0


class RefusedByPrefect(Misuse):
    """An event that the Prefect server does not take, however often it is sent."""


class Handover:
    """Hand events over to the Prefect server; an async context manager.

    confirm: "accepted": the server has put the event before its own consumers, automations among them; where its broker
    is in memory, a crash within the next seconds may lose it. "stored": it is in the server's database, which takes the
    server up to 5 s.
    """

    def __init__(self, *, confirm: Confirm = "accepted") -> None:
        self._confirm = confirm
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._is_wanted = asyncio.Event()
        self._client: PrefectClient = get_client()
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        self._loop = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        for _, future in self._waiting:
            future.cancel()
        await self._client.__aexit__(kind, error, trace)

    async def send(self, event: Event) -> None:
        """Return once the server has the event; as long as it is away, wait for it.

        Raises:
            OversizedMessage, RefusedByPrefect: it will never take it. NoAccess: it refuses everything.
        """
        limit = get_current_settings().server.events.maximum_size_bytes
        if event.size_bytes > limit:
            # The server would say yes, and drop it.
            raise OversizedMessage(f"the Prefect event {event.event!r}", size_bytes=event.size_bytes, limit_bytes=limit)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        self._is_wanted.set()
        await future

    async def _work(self) -> None:
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
                try:
                    await self._hand_over(batch)
                except asyncio.CancelledError:
                    self._waiting = batch + self._waiting
                    raise
                # Whoever waits for one of them says what is to become of it, or of the bridge.
                except Exception as error:  # noqa: BLE001
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)

    async def _hand_over(self, batch: Sequence[tuple[Event, asyncio.Future[None]]]) -> None:
        refusal = await self._posted([event for event, _ in batch])
        if refusal is not None and len(batch) > 1:
            for one in batch:
                await self._hand_over([one])
            return
        for _, future in batch:
            if future.done():
                continue
            if refusal is not None:
                future.set_exception(refusal)
            else:
                future.set_result(None)

    async def _posted(self, events: Sequence[Event]) -> RefusedByPrefect | None:
        """Have the server take all of these; a refusal if it does not want one of them."""
        wanted = [one.model_dump(mode="json") for one in events]
        post = partial(self._client.request, "POST", "/events", json=wanted)
        are_stored = partial(self._are_stored, {one.id for one in events})
        try:
            await patiently(post)
            while self._confirm == "stored" and not await patiently(are_stored):
                _log.warning("bridge.not_stored: %d events are handed over again", len(events))
                await patiently(post)
        except PrefectHTTPStatusError as error:
            if error.response.status_code not in _REFUSALS:
                raise
            return RefusedByPrefect(
                f"Prefect does not take {events[0].event!r}: {brief(error)}; see what its server's log says of it"
            )
        return None

    async def _are_stored(self, ids: set[UUID]) -> bool:
        left, loop = set(ids), asyncio.get_running_loop()
        until = loop.time() + _STORED_WITHIN_S
        while left and loop.time() < until:
            await asyncio.sleep(_LOOK_S)
            # By default that ends now, by this machine's clock.
            occurred = EventOccurredFilter(until=datetime.now(UTC) + timedelta(days=1))
            wanted = EventFilter(id=EventIDFilter(id=list(left)), occurred=occurred)
            found = await self._client.read_events(wanted, limit=_MOST_AT_ONCE)
            left -= {one.id for one in found.events}
        return not left
