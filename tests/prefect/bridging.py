"""Ask both sides of a bridge what they have; a flow that an event starts: `python -m tests.prefect.bridging FOLDER`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import flow, get_client
from prefect.events import DeploymentEventTrigger
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.events.schemas.events import Event

from coterie.bus import CloudEvent, EventBus
from tests.prefect.runs import eventually

ORDERED = "com.example.order.placed"


async def in_prefect(
    *, name: str | None = None, resource: str | None = None, api_url: str | None = None
) -> list[Event]:
    """The events that the server has stored, of this name, of resources whose ids begin so; the oldest first."""
    wanted = EventFilter(
        occurred=EventOccurredFilter(until=datetime.now(UTC) + timedelta(days=1)),
        event=EventNameFilter(name=[name]) if name else None,
        resource=EventResourceFilter(id_prefix=[resource]) if resource else None,
    )
    async with get_client() as client:
        found = await client.read_events(wanted, limit=50)
    return sorted(found.events, key=lambda event: event.occurred)


async def arrived(count: int, *, name: str | None = None, resource: str | None = None) -> Sequence[Event]:
    """So many of them, once the server has stored them, which takes it some seconds."""
    return await eventually(lambda: in_prefect(name=name, resource=resource), lambda found: len(found) >= count)


async def on_bus(bus: EventBus, *patterns: str) -> list[CloudEvent]:
    """What is on the bus."""
    return [one.event async for one in bus.replay(*patterns)]


@flow
def triggered(data: dict[str, Any], correlation_id: str, folder: str) -> None:
    """Write down what the event brought."""
    Path(folder, f"{correlation_id}.json").write_text(json.dumps(data))


def _main() -> None:
    triggered.serve(
        name="on-order",
        triggers=[
            DeploymentEventTrigger(
                expect={ORDERED},
                parameters={
                    "data": "{{ event.payload.data }}",
                    "correlation_id": "{{ event.payload.correlation_id }}",
                    "folder": sys.argv[1],
                },
            )
        ],
    )


if __name__ == "__main__":
    # As deployments import it, not as `__main__`.
    from tests.prefect import bridging

    bridging._main()
