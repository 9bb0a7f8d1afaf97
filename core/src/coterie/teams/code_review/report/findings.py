"""The table of findings, in rank order; the page's script filters, sorts and pages it."""

from __future__ import annotations

from urllib.parse import quote

from coterie.teams.code_review.report.markup import esc, number, place_html, rule_html
from coterie.teams.code_review.report.shape import SEVERITIES, Finding, Report

__all__ = ["MOST_ROWS", "findings_section"]

MOST_ROWS = 2000
_MESSAGE_CHARS = 1000


def findings_section(report: Report) -> str:
    """The gravest 2,000 findings, and a sentence about the others."""
    findings = report["findings"]
    if not findings:
        said = "No agent that ran found anything." if report["tasks"] else "No agent ran."
        return f"<section aria-labelledby=findings><h2 id=findings>Findings</h2><p>{said}</p></section>"
    return (
        f"<section aria-labelledby=findings><h2 id=findings>Findings</h2>{_cut(len(findings))}{_tools(report)}"
        "<table id=findings-table class=findings><caption class=sr>Findings, the gravest first.</caption><thead><tr>"
        f"{''.join(_head(name) for name in ('Severity', 'Place', 'Finding', 'Agent'))}</tr></thead>"
        f"<tbody>{_rows(findings[:MOST_ROWS])}</tbody></table>"
        "<p><button type=button id=find-more class=more hidden></button></p></section>"
    )


def _cut(total: int) -> str:
    if total <= MOST_ROWS:
        return ""
    return (
        f"<p class='notice cut'>This page lists the gravest {number(MOST_ROWS)} of {number(total)} findings; all of "
        "them count in the figures above. The full list is in the JSON report (its digest is below) and in the "
        "SARIF report.</p>"
    )


def _tools(report: Report) -> str:
    """The filters; hidden until the script that makes them work has run."""
    counts = report["summary"]["severity"]
    boxes = "".join(
        f"<label class=pick><input type=checkbox value={level} checked> <span class='sev sev-{level}'>{level}</span> "
        f"<small>{number(counts[level])}</small></label>"
        for level in SEVERITIES
    )
    agents = "".join(
        f'<option value="{esc(name)}">{esc(name)}</option>' for name in sorted(report["summary"]["agents"])
    )
    return (
        "<form id=findings-tools class=tools role=search aria-label='Filter the findings' hidden>"
        f"<fieldset><legend class=sr>Severity</legend>{boxes}</fieldset>"
        f"<label>Agent <select id=find-agent><option value=''>all</option>{agents}</select></label>"
        "<label class=grow><span class=sr>Text</span><input id=find-text type=search "
        "placeholder='Path, rule or words' autocomplete=off spellcheck=false></label>"
        "<button type=button id=find-reset>Reset</button><p id=find-status role=status></p></form>"
    )


def _head(name: str) -> str:
    # Disabled, it is a plain heading; the script enables it.
    return f"<th scope=col class=col-{name.lower()}><button type=button disabled>{name}</button></th>"


def _rows(findings: list[Finding]) -> str:
    """A file's first row is the target of links to that file, for readers without scripts."""
    targets: set[str] = set()
    rows = []
    for finding in findings:
        path = finding["path"]
        mark = f' id="file={quote(path, safe="")}"' if path is not None and path not in targets else ""
        targets.add(path or "")
        rows.append(_row(finding, mark))
    return "\n".join(rows)


def _row(finding: Finding, mark: str) -> str:
    message = finding["message"]
    if len(message) > _MESSAGE_CHARS:
        message = f"{message[: _MESSAGE_CHARS - 1]}…"
    return (
        f'<tr{mark} data-severity={finding["severity"]} data-agent="{esc(finding["agent"])}">'
        f"<td class=col-severity><span class='sev sev-{finding['severity']}'>{finding['severity']}</span>"
        f"<td class=col-place>{place_html(finding)}"
        f"<td class=col-finding>{esc(message)} <span class=rule>{rule_html(finding['rule'], finding['help_uri'])} "
        f"<small>{esc(finding['tool'])}</small></span><td class=col-agent>{esc(finding['agent'])}</tr>"
    )
