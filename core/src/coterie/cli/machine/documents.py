"""Where a machine is and was, as JSON."""

from __future__ import annotations

from typing import Any

from coterie._rules.machine_record import Visit
from coterie._rules.timeline import SECOND
from coterie.cli.fleet.times import instant
from coterie.machine_run import MachineStatus

__all__ = ["status_document", "visit_document"]


def status_document(status: MachineStatus) -> dict[str, Any]:
    """Where a machine is."""
    error = status.error
    return {
        "run": status.workflow_id,
        "machine": {"name": status.machine_name, "hash": status.machine_hash},
        "state": status.state,
        "visit": status.visit,
        "entered_at": instant(round(status.entered_at * SECOND)),
        "phase": status.phase,
        "events": list(status.events),
        "timeout_in_s": status.timeout_in_s,
        "overdue_s": status.overdue_s,
        "status": status.status,
        "error": None if error is None else {"type": error.type, "message": error.message},
    }


def visit_document(visit: Visit) -> dict[str, Any]:
    """One visit that was left."""
    return {
        "visit": visit.number,
        "state": visit.state,
        "entered_at": instant(visit.entered),
        "left_at": instant(visit.left),
        "trigger": visit.trigger,
        "to": visit.to,
        "passed": list(visit.passed),
        "who": visit.who or None,
        "payload": visit.payload,
        "event_id": visit.event_id or None,
        "action": dict(visit.result) if visit.result is not None else None,
    }
