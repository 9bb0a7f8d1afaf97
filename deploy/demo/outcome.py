"""What one engine made of the review, read from its run result and artifact store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coterie import Ref, WorkflowResult, sync

__all__ = ["Outcome", "clear", "read_outcome"]

_REPORTS = {"report": "report.json", "markdown": "report.md", "html": "report.html", "sarif": "report.sarif"}
_STATUS = "status.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One engine's review. `status_document` is the run-status JSON, which must be equal everywhere."""

    engine: str
    status: str
    tasks: int
    processes: int
    wall_s: float
    findings: int
    digest: str
    html: Path
    status_document: dict[str, Any]


def read_outcome(
    engine: str,
    result: WorkflowResult,
    store: sync.ArtifactStore,
    *,
    folder: Path,
    tasks: int,
    processes: int,
    wall_s: float,
) -> Outcome:
    """Read the report behind a run's result, verified, and write its files to `folder`.

    Raises:
        RuntimeError: the run has no report, and the message is the cause; or it was stopped. Nothing is written then.
    """
    output = result["report"].output
    if result["report"].state != "succeeded" or not isinstance(output, Ref):
        raise RuntimeError(_cause(engine, result))
    if result.status not in ("succeeded", "partial"):
        raise RuntimeError(f"{engine}: the run ended {result.status}; start the demo again")
    report: Any = store.load(output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in _REPORTS.items():
        store.copy_to(store.recall(report[name]), folder / file)
    status = result.status_document()
    (folder / _STATUS).write_text(json.dumps(status, indent=2, ensure_ascii=False) + "\n")
    return Outcome(
        engine,
        result.status,
        tasks,
        processes,
        wall_s,
        report["findings"],
        report["digest"],
        folder / "report.html",
        status,
    )


def clear(folder: Path) -> None:
    """Remove what `read_outcome` wrote to the folder, and the folder if nothing else is in it."""
    for file in (*_REPORTS.values(), _STATUS):
        (folder / file).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _cause(engine: str, result: WorkflowResult) -> str:
    """What went wrong first: without a snapshot, the report only repeats that there is none."""
    for name in ("snapshot", "report"):
        error = result[name].error if name in result.tasks else None
        if error is not None:
            return error.message
    return f"{engine}: the run ended {result.status} without a report; start the demo again"
