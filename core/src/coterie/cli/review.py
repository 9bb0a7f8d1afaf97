"""`coterie review`: the code review team on a path or URL, its reports in a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from coterie._json import JsonValue
from coterie.artifacts import ArtifactStore
from coterie.cli.formats import Format
from coterie.cli.session import Job, perform
from coterie.cli.sources import artifacts_url
from coterie.cli.summary import output_console, print_run
from coterie.cli.words import count_of
from coterie.errors import Misuse
from coterie.plan import Plan
from coterie.ref import Ref
from coterie.result import WorkflowResult
from coterie.team import Team

__all__ = ["Order", "review_command"]

_REPORT_TASK = "report"
_SHOWN_FINDINGS = 10
_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@dataclass(frozen=True, slots=True)
class Order:
    """What to review, and where the reports go."""

    source: str
    revision: str | None
    run_tests: bool
    output: Path
    formats: Sequence[Format]


@dataclass(frozen=True, slots=True)
class Reports:
    """What came out: the report task's own output, the report document, the files written."""

    output: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


def review_command(order: Order, *, artifacts: str | None, run_id: str | None, as_json: bool, quiet: bool) -> int:
    """Review, write the reports, say what was found, and return the exit code of the run."""
    plan, team = _plan_and_team(order)
    folder = _writable(order.output)
    job = Job(plan, team, {}, artifacts_url(artifacts), run_id)
    result, reports = perform(job, _Collect(folder, order.formats).collect, quiet=quiet)
    if as_json:
        sys.stdout.write(json.dumps(_document(result, reports), indent=2, ensure_ascii=False) + "\n")
    else:
        _print(output_console(), plan, result, reports)
    return result.exit_code


@dataclass(frozen=True, slots=True)
class _Collect:
    folder: Path
    formats: Sequence[Format]

    async def collect(self, result: WorkflowResult, store: ArtifactStore) -> Reports:
        """Copy the reports from the artifact store into the folder; nothing if there is none."""
        report = result[_REPORT_TASK]
        if report.state != "succeeded":
            return Reports()
        output = await store.load(report.output) if isinstance(report.output, Ref) else report.output
        if not isinstance(output, dict):
            raise Misuse(f"the report task returned a {type(output).__name__}, not an object; update coterie")
        files = await self._write(output, store)
        document = await store.load(_reference(output, Format.JSON, store))
        return Reports(output, document if isinstance(document, dict) else {}, files)

    async def _write(self, output: Mapping[str, JsonValue], store: ArtifactStore) -> dict[str, Path]:
        files = {each: self.folder / f"report.{each.value}" for each in self.formats}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for each, path in files.items():
                await store.copy_to(_reference(output, each, store), path)
        except OSError as error:
            raise Misuse(
                f"cannot write the reports to {str(self.folder)!r}: {error.strerror}; choose another --output"
            ) from error
        return {each.value: path for each, path in files.items()}


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


def _writable(folder: Path) -> Path:
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not existing.is_dir():
        raise Misuse(f"the output folder {str(folder)!r} cannot be made: {str(existing)!r} is a file; choose another")
    return folder.absolute()


def _reference(output: Mapping[str, JsonValue], each: Format, store: ArtifactStore) -> Ref:
    data = output.get(each.field)
    if not isinstance(data, dict):
        raise Misuse(f"the report task returned no {each.field!r}; update coterie")
    return store.recall(data)


def _document(result: WorkflowResult, reports: Reports) -> dict[str, Any]:
    return {
        "workflow_id": result.workflow_id,
        "status": result.status,
        "exit_code": result.exit_code,
        "report": reports.output.get("status"),
        "digest": reports.output.get("digest"),
        "source": reports.document.get("source"),
        "summary": reports.document.get("summary"),
        "missing": reports.document.get("missing"),
        "files": {name: str(path) for name, path in reports.files.items()},
        "duration_s": result.duration_s,
        "tasks": result.status_document()["tasks"],
    }


def _print(console: Console, plan: Plan, result: WorkflowResult, reports: Reports) -> None:
    print_run(console, plan, result)
    if not reports.document:
        console.print("no report was made; see the notes above", style="red")
        return
    console.print()
    _print_findings(console, reports.document.get("findings") or [])
    for each in (reports.document.get("missing") or [])[:_SHOWN_FINDINGS]:
        what = f"{each.get('task')} {each.get('item') or ''}".strip()
        console.print(f"missing: {what}: {each.get('reason')}", style="yellow", markup=False, soft_wrap=True)
    console.print()
    for name, path in reports.files.items():
        console.print(Text.assemble((f"{name:6}", "dim"), str(path)), soft_wrap=True)
    console.print(Text.assemble(("digest ", "dim"), str(reports.output.get("digest"))), soft_wrap=True)


def _print_findings(console: Console, findings: Sequence[Mapping[str, Any]]) -> None:
    console.print(Text(count_of(len(findings), "finding"), style="bold"), end="")
    counts = {name: sum(each.get("severity") == name for each in findings) for name in _SEVERITY_STYLES}
    told = ", ".join(count_of(count, name) for name, count in counts.items() if count)
    rules = max((len(str(each.get("rule"))) for each in findings[:_SHOWN_FINDINGS]), default=0)
    console.print(f": {told}" if told else "")
    for each in findings[:_SHOWN_FINDINGS]:
        severity = str(each.get("severity"))
        place = ":".join(str(part) for part in (each.get("path"), each.get("line")) if part is not None)
        line = Text.assemble(
            (f"  {severity:8}", _SEVERITY_STYLES.get(severity, "")),
            (f"{each.get('rule')!s:{rules}}  ", "cyan"),
            (f"{place}  " if place else "", "dim"),
            str(each.get("message")),
        )
        console.print(line, soft_wrap=True)
    if len(findings) > _SHOWN_FINDINGS:
        console.print(f"  and {len(findings) - _SHOWN_FINDINGS:,} more, in the reports", style="dim")
