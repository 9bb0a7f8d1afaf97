"""What one engine made of the review, read from its run result and artifact store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coterie import Ref, WorkflowResult, sync

__all__ = ["Outcome", "read_outcome"]


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
        RuntimeError: the run has no report, or was stopped; nothing is written then.
    """
    output = result["report"].output
    if result["report"].state != "succeeded" or not isinstance(output, Ref):
        raise RuntimeError(f"{engine}: the run ended {result.status} without a report: {result['report'].error}")
    if result.status not in ("succeeded", "partial"):
        raise RuntimeError(f"{engine}: the run ended {result.status}; start the demo again")
    report: Any = store.load(output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, suffix in (("report", "json"), ("markdown", "md"), ("html", "html"), ("sarif", "sarif")):
        store.copy_to(store.recall(report[name]), folder / f"report.{suffix}")
    status = result.status_document()
    (folder / "status.json").write_text(json.dumps(status, indent=2, ensure_ascii=False) + "\n")
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
