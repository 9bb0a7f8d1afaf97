"""The events that a DAG run is to deal with: those that Airflow says it was started by, and what came meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from coterie.errors import Misuse

if TYPE_CHECKING:
    from airflow.sdk import Asset

__all__ = ["received_events"]


def received_events(asset: Asset) -> list[Any]:
    """The payloads of an asset's events for this DAG run, in order, each once; for a task with the asset in `inlets`.

    Of events that are stored at about the same time, Airflow counts the first as what starts a run, and keeps the rest
    for the run that the next event starts, whenever that comes. So this gives all that have been stored by now, from
    the first one of this run on. A later run may get some of them again: what is done about an event should depend on
    its id.

    Raises:
        Misuse: the task does not have the asset among its inlets.
    """
    from airflow.sdk import get_current_context

    context: Mapping[str, Any] = get_current_context()
    triggering = context.get("triggering_asset_events") or {}
    # By its name and URI: what Airflow has there has no watchers, and is not equal to one that has.
    started = list(triggering.get(asset) or ())
    if not started:
        return []
    try:
        stored = context["inlet_events"][asset]
    except KeyError:
        raise Misuse(
            f"the task {context['ti'].task_id!r} asks for the events of {asset.name!r}; give it inlets=[that asset]"
        ) from None
    later = stored.after(min(event.timestamp for event in started).isoformat())
    return list({_identity(event): payload for event, payload in _payloads([*started, *later])}.values())


def _payloads(events: list[Any]) -> Iterator[tuple[Any, Any]]:
    for event in sorted(events, key=lambda event: event.timestamp):
        if (event.extra or {}).get("from_trigger"):
            yield event, event.extra["payload"]


def _identity(event: Any) -> str:
    """What is stored twice is one event, as CloudEvents have it; of other payloads, what was stored at one time."""
    payload = event.extra["payload"]
    if isinstance(payload, Mapping) and "specversion" in payload:
        return json.dumps([payload.get("source"), payload.get("id")])
    return json.dumps([event.timestamp.isoformat(), payload], sort_keys=True)
