"""`place`: order something, on the bus. `ship FILE`: serve a flow that an automation runs for what was packed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.events import DeploymentEventTrigger

from prefect_coterie import publish_event


@flow
def place() -> dict[str, Any]:
    """Order something."""
    event: dict[str, Any] = publish_event("com.example.order.placed", {"order": "A-7"})
    return event


@flow
def ship(file: str, order: str, correlation_id: str) -> None:
    """Say what is to be shipped."""
    Path(file).write_text(json.dumps({"order": order, "correlation_id": correlation_id}))


def serve(file: str) -> None:
    """Serve `ship`; the automation fills in what the event says."""
    parameters = {
        "file": file,
        "order": {"__prefect_kind": "jinja", "template": "{{ event.payload.data.order }}"},
        "correlation_id": {"__prefect_kind": "jinja", "template": "{{ event.payload.correlation_id }}"},
    }
    packed = DeploymentEventTrigger(name="packed", expect={"com.example.order.packed"}, parameters=parameters)
    ship.serve("ship", triggers=[packed])


if __name__ == "__main__":
    if sys.argv[1] == "place":
        sys.stdout.write(json.dumps(place()) + "\n")
    else:
        serve(sys.argv[2])
