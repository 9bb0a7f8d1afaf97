"""From Prefect to the bus: follow the server's events, and publish them, at least once, in the order it tells them.

How far that has come is kept in a Prefect variable; whoever goes on reads a little before that, and leaves out what the
bus has already, and what happened before the first bridge of its name began.
"""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventOrder

from coterie.errors import MalformedEvent, OversizedMessage
from prefect_coterie.bridge.naming import default_name, digest_of
from prefect_coterie.bridge.patience import brief, patiently, wait_s_after
from prefect_coterie.bridge.translation import came_from_bus, came_from_prefect, to_bus

if TYPE_CHECKING:
    from prefect.client.schemas.events import EventPage
    from prefect.events.schemas.events import Event

    from coterie.bus import EventBus

__all__ = ["Inbound"]

_log = logging.getLogger("coterie.bridge")

# Events may be told later than they happened, and by clocks that differ.
_OVERLAP = timedelta(seconds=60)
_SAVE_EVERY_S = 5.0
# A Prefect server writes what it is told within 5 s, unless it has much to do.
_WRITTEN_AFTER_S = 10.0
_LOOK_EVERY_S = 30.0
_REMEMBERED = 100_000
_MOST_AT_ONCE = 100
_WAITING = 1000


class Inbound:
    """Publishes Prefect's events on a bus.

    patterns: of their names, in which `*` stands for any characters. name: of the bridge: it goes on where the last one
    of that name was; by default one for these patterns. ready: set once none is missed that happens from then on.
    """

    def __init__(self, bus: EventBus, patterns: Sequence[str], *, name: str | None) -> None:
        self.ready = asyncio.Event()
        self._bus = bus
        self._patterns = tuple(patterns)
        self._matches = re.compile("|".join(fnmatch.translate(each.replace("[", "[[]")) for each in patterns)).match
        # The server knows no namespaces: its variables are all topics'.
        topic = f"{bus.log.namespace}/{bus.topic}"
        self._digest = digest_of("from", topic, patterns)
        self.name = name or default_name("from", topic, patterns)
        self._variable = f"coterie_bridge_{re.sub('[^a-z0-9_]', '_', self.name.lower())}"
        self._begun: datetime | None = None
        self._is_warned = False
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._reached: datetime | None = None
        self._saved: tuple[float, datetime | None] = (0.0, None)

    async def run(self) -> None:
        """Do so until cancelled; while the server or the store is away, wait for it."""
        began = datetime.now(UTC)
        await patiently(self._load)
        if self._reached is None:
            # Kept before anything comes: what happens while no bridge runs is then the next one's.
            self._begun = self._reached = began
            await patiently(self._save)
        await patiently(self._recall)
        waiting: asyncio.Queue[Event] = asyncio.Queue(_WAITING)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(waiting))
                group.create_task(self._publish(waiting))
        finally:
            await self._save_last()

    async def _follow(self, waiting: asyncio.Queue[Event]) -> None:
        tries = 0
        while True:
            try:
                # Not its own reconnecting: it would not know of what the server had not written by then.
                async with get_events_subscriber(filter=self._filter(), reconnection_attempts=0) as live:
                    tries = 0
                    async with asyncio.TaskGroup() as group:
                        late = group.create_task(self._catch_up(waiting))
                        async for event in live:
                            await self._put(event, waiting)
                        late.cancel()
            # The client's errors, and the websocket's, have no other common class: whatever it was, it is tried again.
            except Exception as error:  # noqa: BLE001
                wait_s = wait_s_after(tries)
                _log.warning("bridge.prefect_away: follows it again in %.1f s: %s", wait_s, brief(error))
                await asyncio.sleep(wait_s)
            tries += 1

    async def _catch_up(self, waiting: asyncio.Queue[Event]) -> None:
        """See what happened while nobody followed; and now and then what the server wrote late, or did not tell."""
        since = self._reached or datetime.now(UTC)
        await patiently(partial(self._put_missed, since - _OVERLAP, waiting))
        self.ready.set()
        wait_s = _WRITTEN_AFTER_S
        while True:
            await asyncio.sleep(wait_s)
            began = datetime.now(UTC)
            await patiently(partial(self._put_missed, since - _OVERLAP, waiting))
            since, wait_s = began, _LOOK_EVERY_S

    async def _put_missed(self, since: datetime, waiting: asyncio.Queue[Event]) -> None:
        async for event in self._missed(since):
            await self._put(event, waiting)

    async def _put(self, event: Event, waiting: asyncio.Queue[Event]) -> None:
        # The server also tells whoever begins to follow it of the last minute.
        is_older = self._begun is not None and event.occurred < self._begun
        if str(event.id) in self._seen or is_older or came_from_bus(event) or not self._matches(event.event):
            return
        await waiting.put(event)

    async def _missed(self, since: datetime) -> AsyncIterator[Event]:
        wanted = self._filter()
        wanted.occurred = EventOccurredFilter(since=since, until=datetime.now(UTC) + timedelta(days=1))
        wanted.order = EventOrder.ASC
        async with get_client() as client:
            page: EventPage | None = await client.read_events(wanted, limit=50)
            while page is not None:
                for event in page.events:
                    yield event
                page = await page.get_next_page(client)

    async def _publish(self, waiting: asyncio.Queue[Event]) -> None:
        while True:
            batch = [await waiting.get()]
            while len(batch) < _MOST_AT_ONCE and not waiting.empty():
                batch.append(waiting.get_nowait())
            fresh = [one for one in batch if str(one.id) not in self._seen]
            if fresh:
                await patiently(partial(self._publish_all, fresh))
            for one in fresh:
                self._remember(str(one.id))
            # One whose clock is fast would have the next bridge begin after what is still to come.
            now = datetime.now(UTC)
            self._reached = max([min(one.occurred, now) for one in batch] + ([self._reached] if self._reached else []))
            if time.monotonic() - self._saved[0] > _SAVE_EVERY_S:
                await patiently(self._save)

    async def _publish_all(self, events: Sequence[Event]) -> None:
        try:
            await self._bus.publish_all([to_bus(one) for one in events])
        except (OversizedMessage, MalformedEvent) as error:
            if len(events) > 1:
                for one in events:
                    await self._publish_all([one])
                return
            _log.warning("bridge.left_out: %s %s: %s", events[0].event, events[0].id, error)

    def _remember(self, event_id: str) -> None:
        self._seen[event_id] = None
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    async def _recall(self) -> None:
        """Know again what the bus has already of what will be told twice."""
        if self._reached is None:
            return
        async for logged in self._bus.replay(*self._patterns, since=self._reached - 2 * _OVERLAP):
            if came_from_prefect(logged.event):
                self._remember(logged.event.id)

    async def _load(self) -> None:
        async with get_client() as client:
            found = await client.read_variable_by_name(self._variable)
        value = found.value if found is not None else None
        if not isinstance(value, dict):
            return
        self._warn_of_other(value)
        self._reached = min(datetime.fromisoformat(str(value["reached"])), datetime.now(UTC))
        if value.get("begun"):
            self._begun = datetime.fromisoformat(str(value["begun"]))

    async def _save(self) -> None:
        if self._reached != self._saved[1] and self._reached is not None:
            value = {"reached": self._reached.isoformat(), "forwards": self._digest}
            if self._begun is not None:
                value["begun"] = self._begun.isoformat()
            async with get_client() as client:
                found = await client.read_variable_by_name(self._variable)
                if found is None:
                    await client.create_variable(VariableCreate(name=self._variable, value=value))
                else:
                    self._warn_of_other(found.value)
                    await client.update_variable(VariableUpdate(name=self._variable, value=value))
        self._saved = time.monotonic(), self._reached

    def _warn_of_other(self, value: object) -> None:
        """Say once if another bridge of this name left its mark there, which forwards something else."""
        other = value.get("forwards") if isinstance(value, dict) else None
        if other in (None, self._digest) or self._is_warned:
            return
        self._is_warned = True
        _log.warning(
            "bridge.shared_name: another bridge of the name %r has followed other events than %s, and both keep in the "
            "variable %r how far they are: what happens while one of them is down may never come; give each a name of "
            "its own, or none",
            self.name,
            list(self._patterns),
            self._variable,
        )

    async def _save_last(self) -> None:
        try:
            async with asyncio.timeout(_SAVE_EVERY_S):
                await self._save()
        # What is not known goes on where the last word was, and leaves out what the bus has.
        except Exception as error:  # noqa: BLE001
            _log.warning("bridge.not_saved: %s", brief(error))

    def _filter(self) -> EventFilter:
        """What the server is asked for: it knows prefixes, not patterns."""
        whole = [each for each in self._patterns if "*" not in each]
        begun = [each.partition("*")[0] for each in self._patterns if "*" in each]
        if "" in begun:
            return EventFilter()
        return EventFilter(event=EventNameFilter(prefix=begun + whole))
