"""What is said of a report: the first findings, what could not be judged, what is missing, where the files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from coterie.cli.reports import Reports
from coterie.cli.words import count_of
from coterie.teams.code_review.conventions import is_python

__all__ = ["print_verdict"]

_SHOWN_FINDINGS = 10
_SHOWN_PROBLEMS = 5
_REASON_CHARS = 80
_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def print_verdict(console: Console, reports: Reports) -> None:
    """Say it all, of long lists the beginning."""
    document = reports.document
    console.print()
    _print_findings(console, document.get("findings") or [])
    _print_unjudged(console, document.get("source") or {}, document.get("problems") or [])
    for each in (document.get("missing") or [])[:_SHOWN_FINDINGS]:
        what = f"{each.get('task')} {each.get('item') or ''}".strip()
        _warn(console, f"missing: {what}: {each.get('reason')}")
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


def _print_unjudged(console: Console, source: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]) -> None:
    # Several agents may stumble over one file: the first reason is enough here, the reports hold all.
    reasons: dict[str, str] = {}
    for each in problems:
        if each.get("path") is not None:
            reasons.setdefault(each["path"], str(each.get("reason")))
    if not source.get("python_files") and not any(map(is_python, reasons)):
        _warn(console, f"no Python files in {source.get('name')!r}")
    if reasons:
        shown = [f"{path} ({_short(reason)})" for path, reason in list(reasons.items())[:_SHOWN_PROBLEMS]]
        more = [f"and {len(reasons) - len(shown):,} more, in the reports"] if len(reasons) > len(shown) else []
        told = ", ".join([*shown, *more])
        _warn(console, f"{count_of(len(reasons), 'file')} could not be judged: {told}")
    for each in [each for each in problems if each.get("path") is None][:_SHOWN_PROBLEMS]:
        _warn(console, f"{each.get('task')}: {_short(str(each.get('reason')))}")


def _short(reason: str) -> str:
    return reason if len(reason) <= _REASON_CHARS else reason[: _REASON_CHARS - 1] + "…"


def _warn(console: Console, line: str) -> None:
    console.print(line, style="yellow", markup=False, soft_wrap=True)
