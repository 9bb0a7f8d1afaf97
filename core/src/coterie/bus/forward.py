"""Tell all who subscribe what happens in runs: the runs' own events, published aside."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from coterie._json import JsonValue
from coterie.bus.about import about
from coterie.bus.bus import EventBus
from coterie.bus.envelope import time_of
from coterie.bus.event import CloudEvent
from coterie.bus.names import FAMILIES
from coterie.errors import PolicyError, TopicFull, Unavailable
from coterie.events import Event, Listener
from coterie.usage import Usage
from coterie.work import Work, tell_of_forks

__all__ = ["BusListener"]

_log = logging.getLogger("coterie.bus")

_AT_ONCE = 200
_WAIT_S = 2.0
_DEPTH, _MOST_ITEMS, _TEXT_CHARS = 4, 100, 2000
# What a run's end, and a task's, is called by how it ended.
_RUN_ENDS = {"succeeded": "completed"}
_TASK_ENDS = {"succeeded": "completed", "upstream_failed": "skipped"}
# People's answers, and what agents are given and give, are nobody else's.
_UNSAID = frozenset({"values", "note", "input", "output"})


class BusListener:
    """An `events.Listener` that publishes what happens in runs: no run waits for it, or fails by it.

    `run.started` is published as `workflow.started`, and `run.finished` as `workflow.completed`, `workflow.partial`,
    `workflow.failed` or `workflow.cancelled`; `task.finished` as `task.completed`, `task.failed`, `task.skipped` or
    `task.cancelled`; others under their own names. A run's id is the events' key and correlation id, so that they come
    in order, and run and task are their subject: `RUN/TASK`; the data name them `workflow_id` and `task_id`. Inputs and
    outputs are never among the data.

    capacity: how many may wait to be published; beyond, new ones are dropped, counted in `dropped`, and that is told.
    then: another listener that is told too, first.
    """

    def __init__(self, bus: EventBus, *, capacity: int = 10_000, then: Listener | None = None) -> None:
        if type(capacity) is not int or capacity < 1:
            raise PolicyError(f"capacity is {capacity!r}; give a whole number >= 1")
        self._bus = bus
        self._then = then
        self._capacity = capacity
        self.forked()
        tell_of_forks(self)

    def forked(self) -> None:
        """Begin anew: a forked process publishes what it is told itself; what waits is its parent's."""
        self.dropped = 0
        self._waiting: deque[tuple[Event, float]] = deque()
        self._told = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sender: asyncio.Task[None] | None = None
        self._work = Work()

    def __call__(self, event: Event) -> None:
        """Take an event, to be published soon, from any thread. It does not block, and raises only what `then` does."""
        try:
            if self._then is not None:
                self._then(event)
        finally:
            self._take(event)

    def _take(self, event: Event) -> None:
        if len(self._waiting) >= self._capacity:
            self.dropped += 1
            return
        self._waiting.append((event, self._bus.clock.now()))
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            # Of another thread: the loop that is known sends it, or else the next event that comes from one.
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._send)
        else:
            self._send()

    async def aclose(self, timeout_s: float = 5.0) -> None:
        """Publish what waits, for at most so long; what is left then is dropped, and told."""
        self._loop = asyncio.get_running_loop()
        self._send()
        await self._work.aclose(timeout_s)
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._tell_dropped()

    def _send(self) -> None:
        if self._waiting and (self._sender is None or self._sender.done()):
            self._sender = self._work.start(self._sent())

    async def _sent(self) -> None:
        while self._waiting:
            some = list(islice(self._waiting, _AT_ONCE))
            events = [made for one in some if (made := self._made(*one)) is not None]
            if events:
                await self._publish(events)
            # Only now: whatever is cancelled before is counted as dropped.
            for _ in some:
                self._waiting.popleft()
            self._tell_dropped()

    def _made(self, event: Event, at_s: float) -> CloudEvent | None:
        try:
            return _published(self._bus.source, event, at_s)
        # Handled by `_drop`, which counts and tells it: those behind it are to be published.
        except Exception as error:  # noqa: BLE001
            self._drop(1, error)
            return None

    async def _publish(self, events: Sequence[CloudEvent]) -> None:
        """However long the store takes; the same events again are the same ones."""
        while True:
            try:
                await self._bus.publish_all(events, wait_s=_WAIT_S)
            except (Unavailable, TopicFull) as error:
                _log.info("events.not_published: asked again: %s", error)
            # One that may not be sent, or all, such as into a store that was closed: `_drop` counts and tells them.
            except Exception as error:  # noqa: BLE001
                if len(events) == 1:
                    return self._drop(1, error)
                for event in events:
                    await self._publish([event])
                return None
            else:
                return None

    def _drop(self, count: int, error: Exception) -> None:
        self.dropped += count
        self._told += count
        _log.warning("events.dropped: %d events of runs cannot be published: %s", count, error)

    def _tell_dropped(self) -> None:
        if self.dropped > self._told:
            _log.warning(
                "events.dropped: %d events of runs were not published, as the store was too slow, or away",
                self.dropped - self._told,
            )
            self._told = self.dropped


def _published(source: str, event: Event, at_s: float) -> CloudEvent:
    fields = {_whole(name): _plain(value, _DEPTH) for name, value in event.fields.items() if name not in _UNSAID}
    data, key, subject, correlation_id = about(event.workflow_id, event.task_id, fields)
    return CloudEvent(
        _name(event),
        data,
        source=source,
        time=time_of(at_s),
        subject=subject,
        key=key,
        correlation_id=correlation_id,
    )


def _name(event: Event) -> str:
    kind, _, what = event.name.partition(".")
    if event.name == "run.started":
        return "workflow.started"
    if event.name == "run.finished":
        status = str(event.fields.get("status"))
        return f"workflow.{_RUN_ENDS.get(status, status)}"
    if event.name == "task.finished":
        state = str(event.fields.get("state"))
        return f"task.{_TASK_ENDS.get(state, state)}"
    return event.name if what and kind in FAMILIES else f"events.{event.name}"


def _plain(value: Any, depth: int) -> JsonValue:
    """As JSON, and short: texts are cut, and of what is no JSON only its type is told."""
    if value is None or isinstance(value, (bool, int, float)):
        return value if not isinstance(value, float) or math.isfinite(value) else None
    if isinstance(value, str):
        return _whole(value[:_TEXT_CHARS])
    if depth and isinstance(value, Mapping):
        return {
            _whole(str(name)[:_TEXT_CHARS]): _plain(one, depth - 1) for name, one in islice(value.items(), _MOST_ITEMS)
        }
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(one, depth - 1) for one in islice(value, _MOST_ITEMS)]
    if isinstance(value, Usage):
        return _plain(value.to_dict(), depth)
    return type(value).__name__


def _whole(text: str) -> str:
    """Half characters, such as of a file's name that is no UTF-8, are replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
