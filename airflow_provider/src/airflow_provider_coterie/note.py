"""A listener in the scheduler: when a DAG run ends, its note says what coterie knows of it.

Such as `coterie: partial — missing: lint`. A note that a person wrote is kept; the line is added, or replaced.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

__all__ = ["note_of", "on_dag_run_failed", "on_dag_run_success", "with_line"]

_log = logging.getLogger(__name__)

_MARK = "coterie: "
MAX_NOTE_CHARS = 1000


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:  # noqa: ARG001  # Airflow's signature
    """Write the note."""
    _write(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:  # noqa: ARG001  # Airflow's signature
    """Write the note."""
    _write(dag_run)


def note_of(status: Mapping[str, Any]) -> str:
    """One line for people, from the XCom `coterie_status`."""
    missing, left = (_listed(status, name) for name in ("missing", "left"))
    line = f"{_MARK}{status['status']}" + (f" — missing: {missing}" if missing else "")
    if left:
        return f"{line} — not undone: {left}"
    return f"{line} — undone" if status.get("saga") == "compensated" else line


def _listed(status: Mapping[str, Any], name: str) -> str:
    named = list(status.get(name) or [])
    more = int(status.get(f"{name}_count") or len(named)) - len(named)
    return ", ".join([*named, *([f"{more} more"] if more > 0 else [])])


def with_line(note: str | None, lines: list[str]) -> str:
    """A note with coterie's lines at its end, instead of those of an earlier end of the run."""
    kept = [line for line in (note or "").splitlines() if not line.startswith(_MARK)]
    return "\n".join([*kept, *lines])[:MAX_NOTE_CHARS]


def _write(dag_run: DagRun) -> None:
    # A note is a courtesy: nothing that goes wrong here may disturb the scheduler.
    try:
        lines = [note_of(status) for status in _statuses(dag_run)]
        if lines:
            dag_run.note = with_line(dag_run.note, lines)
    except Exception:  # noqa: BLE001
        _log.warning("coterie.note_failed", exc_info=True)


def _statuses(dag_run: DagRun) -> list[dict[str, Any]]:
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    from airflow_provider_coterie.wire import STATUS_KEY

    session = object_session(dag_run)
    if session is None:
        return []
    wanted = select(XComModel.value).where(
        XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id, XComModel.key == STATUS_KEY
    )
    values = session.scalars(wanted.order_by(XComModel.task_id)).all()
    return [value if isinstance(value, dict) else json.loads(value) for value in values]
