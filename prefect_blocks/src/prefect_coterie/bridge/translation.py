"""One event in the words of the other side: a bus's CloudEvent as a Prefect event, and the other way round.

What came over a bridge says so, and never goes back. Ids are made from those of the other side, so that an event that
is sent again is the same.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from prefect.events.schemas.events import Event, RelatedResource, Resource

from coterie.bus import CloudEvent, full_pattern, full_type, short_type
from prefect_coterie.bridge.masking import masked

if TYPE_CHECKING:
    from coterie import JsonValue

__all__ = ["FLOW_RUN", "came_from_bus", "came_from_prefect", "prefect_name", "to_bus", "to_prefect", "workflow_of"]

# Of workflow ids of flow runs that nobody has named, see `workflow_id_here`.
FLOW_RUN = "prefect."
_FLOW_RUN_RESOURCE = "prefect.flow-run."
# The extension that an event of the bus carries which comes from Prefect, and the label of one that goes there.
_FROM = "bridgedfrom"
_PREFECT = "prefect"
_EVENT_ID = "coterie.event-id"
_IDS = UUID("5f0f1d0c-2f4b-5e0a-9d3e-6a4c0c7e5b11")
_OURS = "dev.coterie."
_KEY_CHARS = 200


def prefect_name(event_type: str) -> str:
    """What an event of this type, or pattern of types, is called in Prefect: `coterie.task.failed`; a user's own name
    stays.
    """
    full = full_pattern(event_type)
    ours = full.removeprefix(_OURS)
    return event_type if ours == full else f"coterie.{short_type(full).removeprefix(_OURS)}"


def to_prefect(event: CloudEvent, *, namespace: str, topic: str) -> Event:
    """An event of the bus as one that automations can react to.

    Its resource is `coterie.<kind>.<namespace>.<subject>`; its payload has `data`, with secrets hidden, and whence they
    are.
    """
    name = prefect_name(event.type)
    kind = name.split(".")[1] if name != event.type else "event"
    subject = event.subject or event.key or event.correlation_id or topic
    labels = {
        "prefect.resource.id": f"coterie.{kind}.{namespace}.{subject}",
        "prefect.resource.name": subject,
        _EVENT_ID: event.id,
        "coterie.event-type": event.type,
        "coterie.namespace": namespace,
        "coterie.topic": topic,
        "coterie.source": event.source,
        "coterie.correlation-id": event.correlation_id or "",
        "coterie.causation-id": event.causation_id or "",
    }
    payload: dict[str, Any] = {
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        # Never null: parameters of deployments are made of it, and of what belongs to nothing yet, it is the beginning.
        "correlation_id": event.correlation_id or event.id,
        "causation_id": event.causation_id,
        "traceparent": event.traceparent,
        "data": masked(event.data),
    }
    return Event(
        id=uuid5(_IDS, f"{namespace}\n{topic}\n{event.source}\n{event.id}"),
        occurred=datetime.fromisoformat(event.time.upper()),
        event=name,
        resource=Resource({name: value for name, value in labels.items() if value}),
        related=_related(event, namespace),
        payload=payload,
    )


def to_bus(event: Event) -> CloudEvent:
    """A Prefect event as one of the bus, of the same name; in the order of its resource's other events.

    Of a flow run, or of what belongs to one, the correlation id is that of the run's coterie workflow.
    """
    data: dict[str, JsonValue] = {
        "resource": dict(event.resource.root),
        "related": [dict(one.root) for one in event.related],
        "payload": masked(event.model_dump(mode="json")["payload"]),
    }
    # A name that is coterie's own would say that coterie sent it.
    name = event.event if full_type(event.event) == event.event else f"{_PREFECT}.{event.event}"
    return CloudEvent(
        name,
        data,
        source=_PREFECT,
        id=str(event.id),
        time=event.occurred.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        subject=event.resource.id,
        key=event.resource.id[:_KEY_CHARS],
        correlation_id=workflow_of(event),
        extensions={_FROM: _PREFECT},
    )


def workflow_of(event: Event) -> str | None:
    """The workflow id of the flow run that a Prefect event is about, or belongs to; None without one."""
    for one in event.involved_resources:
        if one.id.startswith(_FLOW_RUN_RESOURCE):
            return FLOW_RUN + one.id.removeprefix(_FLOW_RUN_RESOURCE)
    return None


def came_from_prefect(event: CloudEvent) -> bool:
    """Whether a bridge brought this event of the bus."""
    return event.extensions.get(_FROM) == _PREFECT


def came_from_bus(event: Event) -> bool:
    """Whether a bridge brought this event of Prefect."""
    return _EVENT_ID in event.resource.root


def _related(event: CloudEvent, namespace: str) -> list[RelatedResource]:
    """The run that it belongs to: its events are found together, and where that is a flow run, on its page."""
    if not event.correlation_id:
        return []
    run = f"coterie.workflow.{namespace}.{event.correlation_id}"
    found = [RelatedResource({"prefect.resource.id": run, "prefect.resource.role": "coterie-workflow"})]
    flow_run = event.correlation_id.removeprefix(FLOW_RUN)
    if flow_run != event.correlation_id and _is_uuid(flow_run):
        of_flow = {"prefect.resource.id": _FLOW_RUN_RESOURCE + flow_run, "prefect.resource.role": "flow-run"}
        found.append(RelatedResource(of_flow))
    return found


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
