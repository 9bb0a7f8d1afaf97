"""Tasks that are performed elsewhere: calls of workers, and the workers that perform them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coterie.remote.agent import RemoteAgent
    from coterie.remote.call import Call, CallItem, CallStatus
    from coterie.remote.calls import RemoteCalls
    from coterie.remote.registry import WorkerStatus, list_workers
    from coterie.remote.worker import Worker

__all__ = ["Call", "CallItem", "CallStatus", "RemoteAgent", "RemoteCalls", "Worker", "WorkerStatus", "list_workers"]

_HOMES = {
    "Call": "call",
    "CallItem": "call",
    "CallStatus": "call",
    "RemoteAgent": "agent",
    "RemoteCalls": "calls",
    "Worker": "worker",
    "WorkerStatus": "registry",
    "list_workers": "registry",
}


# Looked up late: every orchestrator imports a module of this package, and few ask workers.
def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
