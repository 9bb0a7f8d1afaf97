"""Prefect tasks that publish events on the bus, and wait for them: `apublish_event`, `await_for_event`; their twins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from prefect import task
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from coterie.bus import CloudEvent
from coterie.errors import Misuse
from prefect_coterie.location import check_state_reach, runner_here
from prefect_coterie.policy import OPTIONS
from prefect_coterie.shutdown import graceful
from prefect_coterie.source import StoreSource, store_of_events
from prefect_coterie.state_block import CoterieStore
from prefect_coterie.tasks import workflow_id_here

if TYPE_CHECKING:
    from coterie import JsonValue
    from coterie.bus import EventBus

__all__ = ["ANY", "EventDocument", "apublish_event", "await_for_event", "publish_event", "wait_for_event"]

# A CloudEvent as JSON, which `CloudEvent.from_dict` reads.
EventDocument: TypeAlias = "dict[str, Any]"

# As a correlation id to wait for: whatever it is.
ANY = "*"


@task(name="publish-event", task_run_name="publish {event_type}", **OPTIONS)
async def apublish_event(
    event_type: str,
    data: JsonValue = None,
    *,
    store: StoreSource | None = None,
    topic: str | None = None,
    key: str = "",
    subject: str | None = None,
    event_id: str | None = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    priority: int = 0,
    expires_in_s: float | None = None,
    wait_s: float = 0.0,
) -> EventDocument:
    """Publish an event on the bus of a store, and return it as JSON, once it is as durable as the store makes it.

    event_type: such as `com.example.order.placed`; of coterie's own, the short name.
    store: a block, its name, or a URL; by default `COTERIE_STORE`. topic: by default the block's.
    event_id: by default of the task run, so that its retry publishes nothing twice.
    correlation_id: by default the workflow id of the flow run, `prefect.<flow run id>`.
    wait_s: for how long to wait for room in a topic that is full. The others: as of `EventBus.publish`.

    Raises:
        MalformedEvent, OversizedMessage, Misuse, PolicyError: nothing was published.
        TopicFull: there was no room. Unavailable: the store failed; Prefect tries again.
    """
    place = await _reachable(store)
    async with place.get_event_bus(topic) as bus:
        done = await bus.publish(
            event_type,
            data,
            key=key,
            subject=subject,
            id=event_id or _id_here(),
            correlation_id=correlation_id or await workflow_id_here(),
            causation_id=causation_id,
            priority=priority,
            expires_in_s=expires_in_s,
            wait_s=wait_s,
        )
    return done.event.to_dict()


@task(name="publish-event", task_run_name="publish {event_type}", **OPTIONS)
def publish_event(
    event_type: str,
    data: JsonValue = None,
    *,
    store: StoreSource | None = None,
    topic: str | None = None,
    key: str = "",
    subject: str | None = None,
    event_id: str | None = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    priority: int = 0,
    expires_in_s: float | None = None,
    wait_s: float = 0.0,
) -> EventDocument:
    """`apublish_event`, blocking; not to be called where an event loop runs."""
    from coterie.sync import run

    found: EventDocument = run(
        apublish_event.fn(
            event_type,
            data,
            store=store,
            topic=topic,
            key=key,
            subject=subject,
            event_id=event_id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            priority=priority,
            expires_in_s=expires_in_s,
            wait_s=wait_s,
        )
    )
    return found


@task(name="wait-for-event", task_run_name="wait for {event_type}", **OPTIONS)
async def await_for_event(
    event_type: str | Iterable[str],
    *,
    store: StoreSource | None = None,
    topic: str | None = None,
    correlation_id: str | None = None,
    where: Callable[[CloudEvent], bool] | None = None,
    since: datetime | None = None,
    timeout_s: float | None = None,
) -> EventDocument:
    """Wait for an event on the bus of a store, and return it as JSON: the first that fits and has come since `since`.

    event_type: a type, or a pattern of types such as `task.*`, or several of these.
    store, topic: as of `apublish_event`.
    correlation_id: by default the workflow id of the flow run; `ANY`: whatever it is. where: what else must be true.
    since: by default when the flow run began, in its first try: what was published between that and the wait counts.
    timeout_s: None: for as long as it takes.

    Raises:
        NoReply: nothing came in time. Misuse, PolicyError: that cannot be waited for.
        Unavailable: the store failed for long; Prefect tries again.
    """
    place = await _reachable(store)
    wanted = correlation_id or await workflow_id_here()
    patterns = [event_type] if isinstance(event_type, str) else list(event_type)

    def fits(event: CloudEvent) -> bool:
        return wanted in (ANY, event.correlation_id) and (where is None or where(event))

    begin = since or began_here()
    async with place.get_event_bus(topic) as bus:
        _say_awaited(bus, patterns, wanted, begin, timeout_s, chosen=where is not None)
        found = await bus.wait_for(*patterns, where=fits, since=begin, timeout_s=timeout_s)
    return found.to_dict()


@task(name="wait-for-event", task_run_name="wait for {event_type}", **OPTIONS)
def wait_for_event(
    event_type: str | Iterable[str],
    *,
    store: StoreSource | None = None,
    topic: str | None = None,
    correlation_id: str | None = None,
    where: Callable[[CloudEvent], bool] | None = None,
    since: datetime | None = None,
    timeout_s: float | None = None,
) -> EventDocument:
    """`await_for_event`, blocking; not to be called where an event loop runs."""
    from coterie.sync import run

    with graceful():
        found: EventDocument = run(
            await_for_event.fn(
                event_type,
                store=store,
                topic=topic,
                correlation_id=correlation_id,
                where=where,
                since=since,
                timeout_s=timeout_s,
            )
        )
    return found


def began_here() -> datetime:
    """When the run around began, in its first try.

    Raises:
        Misuse: there is no run around.
    """
    flow, one = FlowRunContext.get(), TaskRunContext.get()
    if flow is not None:
        first = flow.flow_run.start_time if flow.flow_run is not None else None
        return min(first or flow.start_time, flow.start_time)
    if one is not None:
        return one.task_run.start_time or one.start_time
    raise Misuse("this runs outside of any Prefect run; call it in a flow or task, or say since when")


def _say_awaited(
    bus: EventBus, patterns: list[str], wanted: str, since: datetime, timeout_s: float | None, *, chosen: bool
) -> None:
    """One line of the run's log: whoever looks at a run that waits knows for what, and where to look for it."""
    of = "of any run" if wanted == ANY else f"of the run {wanted!r}"
    until = "for as long as it takes"
    if timeout_s is not None:
        until = f"until {(datetime.now(UTC) + timedelta(seconds=timeout_s)).isoformat(timespec='seconds')}"
    try:
        log = get_run_logger()
    except MissingContextError:
        log = get_logger("coterie")
    log.info(
        "waits for %s on the topic %r of %s, namespace %r, %s%s, since %s, %s; 'coterie events tail --topic %s' shows "
        "what comes",
        " or ".join(patterns) or "any event",
        bus.topic,
        bus.log.url,
        bus.log.namespace,
        of,
        " and as its 'where' chooses" if chosen else "",
        since.isoformat(timespec="seconds"),
        until,
        bus.topic,
    )


def _id_here() -> str | None:
    one = TaskRunContext.get()
    return f"prefect.{one.task_run.id}" if one is not None else None


async def _reachable(source: StoreSource | None) -> CoterieStore:
    place = await store_of_events(source)
    await check_state_reach(place, runner_here(), kept=False)
    return place
