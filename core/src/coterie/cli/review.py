"""`coterie review`: the code review team on a path or URL, its reports in a folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coterie.cli.formats import Format
from coterie.cli.reports import REPORT_TASK, Collect, Reports, writable
from coterie.cli.session import Job, perform
from coterie.cli.sources import artifacts_url
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console, print_run
from coterie.errors import Misuse, StepFailed
from coterie.plan import Plan
from coterie.result import WorkflowResult
from coterie.team import Team

__all__ = ["Order", "review_command"]

_SNAPSHOT_TASK = "snapshot"


@dataclass(frozen=True, slots=True)
class Order:
    """What to review, and where the reports go."""

    source: str
    revision: str | None
    run_tests: bool
    output: Path
    formats: Sequence[Format]


def review_command(order: Order, *, artifacts: str | None, run_id: str | None, as_json: bool, quiet: bool) -> int:
    """Review, write the reports, say what was found, and return the exit code of the run.

    Raises:
        StepFailed: there is no report; the message is the cause. What there is to show has been shown.
    """
    plan, team = _plan_and_team(order)
    folder = writable(order.output)
    job = Job(plan, team, {}, artifacts_url(artifacts), run_id)
    result, reports = perform(job, Collect(folder, order.formats).collect, quiet=quiet)
    cause = _cause(result)
    if as_json:
        write_json(_document(result, reports, cause))
    else:
        _print(plan, result, reports)
    if cause is not None:
        sys.stdout.flush()
        raise StepFailed(cause)
    return result.exit_code


def _plan_and_team(order: Order) -> tuple[Plan, Team]:
    try:
        from coterie.teams.code_review import plan, team
        from coterie.teams.code_review.location import check_revision, read_source
    except ModuleNotFoundError as error:
        raise Misuse(
            f"reviewing needs {error.name!r}, which is not installed; run: pip install 'coterie[code-review]'"
        ) from error
    # Looked at here too, so that a mistyped path is told before anything starts.
    read_source(order.source)
    check_revision(order.revision, order.source)
    made = plan(order.source, revision=order.revision, run_tests=order.run_tests)
    return made, team


def _cause(result: WorkflowResult) -> str | None:
    """Why a run that nobody stopped has no report: what went wrong first, on one line."""
    if result.status == "cancelled" or result[REPORT_TASK].state == "succeeded":
        return None
    first = next(each for each in (result[_SNAPSHOT_TASK], result[REPORT_TASK]) if each.state != "succeeded")
    if first.error is None:
        return f"the task {first.task_id!r} ended {first.state}; run the review again"
    return " ".join(first.error.message.split())


def _document(result: WorkflowResult, reports: Reports, cause: str | None) -> dict[str, Any]:
    return {
        "workflow_id": result.workflow_id,
        "status": result.status,
        "exit_code": result.exit_code,
        "error": cause,
        "report": reports.output.get("status"),
        "digest": reports.output.get("digest"),
        "source": reports.document.get("source"),
        "summary": reports.document.get("summary"),
        "missing": reports.document.get("missing"),
        "problems": reports.document.get("problems"),
        "files": {name: str(path) for name, path in reports.files.items()},
        "duration_s": result.duration_s,
        "tasks": result.status_document()["tasks"],
    }


def _print(plan: Plan, result: WorkflowResult, reports: Reports) -> None:
    console = output_console()
    # Without a snapshot every task would say the same: the error line says it once.
    print_run(console, plan, result, notes=result[_SNAPSHOT_TASK].state != "failed")
    if reports.document:
        from coterie.cli.verdict import print_verdict

        print_verdict(console, reports)
    elif result.status == "cancelled":
        console.print("no report was made", style="red")
