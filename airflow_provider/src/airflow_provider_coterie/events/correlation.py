"""What a DAG run's work and events are correlated by: the events that began it, else the run itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coterie.ids import WorkflowId

__all__ = ["causation_of", "causes_of", "correlation_of"]


def correlation_of(context: Mapping[str, Any], workflow_id: WorkflowId) -> str:
    """The correlation id of the events that began the DAG run, where they agree; else the run's own id."""
    found = {event.get("correlationid") for event in causes_of(context)}
    return str(found.pop()) if len(found) == 1 and None not in found else workflow_id


def causation_of(context: Mapping[str, Any]) -> str | None:
    """The id of the event that began the DAG run, where it was one."""
    found = {str(event["id"]) for event in causes_of(context)}
    return found.pop() if len(found) == 1 else None


def causes_of(context: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The events, as CloudEvents, by which an asset watcher began the DAG run. Airflow may put several into one run."""
    triggering = context.get("triggering_asset_events") or {}
    for asset in triggering:
        for asset_event in triggering[asset]:
            payload = (asset_event.extra or {}).get("payload")
            # Other triggers' payloads are theirs.
            if isinstance(payload, Mapping) and "specversion" in payload:
                yield payload
