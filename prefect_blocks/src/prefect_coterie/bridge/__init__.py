"""Events between a coterie bus and the Prefect server: `python -m prefect_coterie.bridge`."""

from __future__ import annotations

from prefect_coterie.bridge.bridge import EventBridge
from prefect_coterie.bridge.server import RefusedByPrefect
from prefect_coterie.bridge.translation import prefect_name, to_bus, to_prefect

__all__ = ["EventBridge", "RefusedByPrefect", "prefect_name", "to_bus", "to_prefect"]
