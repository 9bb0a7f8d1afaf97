"""The report as Markdown (CommonMark with tables), for a scheduler's page, a pull request or a terminal.

It is bounded: the gravest findings, and a sentence that says how many more there are. Text from the reviewed
code can neither start markup, nor link, nor mention anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from coterie._json import JsonValue
from coterie.teams.code_review.report.clean import visible
from coterie.teams.code_review.report.document import digest
from coterie.teams.code_review.report.shape import SEVERITIES, Finding, Report, Severity

__all__ = ["code", "text", "to_markdown"]

_SHOWN: dict[Severity, int] = {"error": 30, "warning": 20, "note": 10}
_MISSING_SHOWN = 30
_MESSAGE_CHARS = 240
# What means something inside a line: emphasis, code, links, cells, strikes, mathematics; and what would make a bare
# address a link.
_MARKUP = re.compile(r"([\\`*_\[\]|~$]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
_TITLES: dict[Severity, str] = {"error": "Errors", "warning": "Warnings", "note": "Notes"}


def to_markdown(report: Report) -> str:
    """Render `report`; the same report always gives the same text."""
    sections = [
        _head(report),
        _missing(report),
        _agents(report),
        *(_findings(report, severity) for severity in SEVERITIES),
        _hotspots(report),
        _metrics(report),
        _foot(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def text(raw: str, limit: int = _MESSAGE_CHARS) -> str:
    """`raw` as one line of plain text that Markdown cannot take for markup, a link or a mention."""
    line = " ".join(visible(raw).split())
    line = line if len(line) <= limit else f"{line[: limit - 1]}…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A word joiner after the sign: code hosts look for mentions in the rendered text.
    return _MARKUP.sub(r"\\\1", line).replace("@", "@\u2060")


def code(raw: str) -> str:
    """`raw` as a code span that also fits a table cell."""
    line = " ".join(visible(raw).split())
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    padded = f" {line} " if line.startswith("`") or line.endswith("`") else line
    return f"{fence}{padded}{fence}".replace("|", "\\|")


def _head(report: Report) -> str:
    source, counts = report["source"], report["summary"]["severity"]
    lines = [f"# Code review of {text(source['name']) if source else 'an unknown source'}", ""]
    if source:
        revision = f" at {code(source['revision'])}" if source["revision"] else ""
        files = f"{source['files']} files, {len(source['python_files'])} of them Python"
        lines += [f"A {text(source['kind'])} source{revision}: {files}.", ""]
    told = ", ".join(f"**{counts[level]}** {_TITLES[level].lower()}" for level in SEVERITIES)
    state = "" if report["status"] == "complete" else " **This review is partial: see what is missing.**"
    return "\n".join([*lines, f"{told} in {len(report['summary']['files'])} files.{state}"])


def _missing(report: Report) -> str:
    blocks = []
    if report["missing"]:
        rows = [
            (
                code(each["task"]),
                code(each["item"]) if "item" in each else "",
                each["state"],
                text(each["reason"]),
            )
            for each in report["missing"][:_MISSING_SHOWN]
        ]
        blocks += ["## Missing from this report", _table(("Task", "Item", "State", "Reason"), rows)]
        blocks += _rest(len(report["missing"]), _MISSING_SHOWN)
    if report["problems"]:
        rows_ = [
            (code(each["task"]), code(each["path"]) if each["path"] else "", text(each["reason"]))
            for each in report["problems"][:_MISSING_SHOWN]
        ]
        blocks += ["## Files that could not be judged", _table(("Task", "File", "Reason"), rows_)]
        blocks += _rest(len(report["problems"]), _MISSING_SHOWN)
    return "\n\n".join(blocks)


def _agents(report: Report) -> str:
    rows = [
        (text(agent), *(str(counts[level]) for level in SEVERITIES))
        for agent, counts in sorted(report["summary"]["agents"].items())
    ]
    return f"## Findings by agent\n\n{_table(('Agent', 'Errors', 'Warnings', 'Notes'), rows, right=3)}" if rows else ""


def _findings(report: Report, severity: Severity) -> str:
    own = [finding for finding in report["findings"] if finding["severity"] == severity]
    if not own:
        return ""
    rows = [_row(finding) for finding in own[: _SHOWN[severity]]]
    blocks = [f"## {_TITLES[severity]}", _table(("Place", "Rule", "Message"), rows)]
    return "\n\n".join([*blocks, *_rest(len(own), _SHOWN[severity])])


def _row(finding: Finding) -> tuple[str, str, str]:
    place = finding["path"] or "(whole tree)"
    line = f":{finding['line']}" if finding["line"] is not None else ""
    return code(place + line), f"{text(finding['tool'])} {code(finding['rule'])}", text(finding["message"])


def _hotspots(report: Report) -> str:
    if not report["hotspots"]:
        return ""
    rows = [
        (code(spot["path"]), str(spot["score"]), *(str(spot[level]) for level in SEVERITIES))
        for spot in report["hotspots"][:10]
    ]
    table = _table(("File", "Score", "Errors", "Warnings", "Notes"), rows, right=4)
    return f"## Where to look first\n\nScore: 10 per error, 3 per warning, 1 per note.\n\n{table}"


def _metrics(report: Report) -> str:
    rows = [
        (text(agent), code(name), value)
        for agent, tasks in sorted(report["metrics"].items())
        for task, values in sorted(tasks.items())
        for name, value in _numbers(task, values)
    ]
    return f"## Metrics\n\n{_table(('Agent', 'Metric', 'Value'), rows[:60], right=1)}" if rows else ""


def _numbers(task: str, values: JsonValue) -> Iterable[tuple[str, str]]:
    """Plain numbers of a task's metrics; of a task with items, the mean over them."""
    if not isinstance(values, dict):
        return
    for name, value in sorted(values.items()):
        if name == "over_items" and isinstance(value, dict):
            for column, folded in sorted(value.items()):
                if isinstance(folded, dict):
                    yield f"{task}.{column} (mean of {folded['count']})", f"{folded['mean']}"
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{task}.{name}", f"{value}"


def _foot(report: Report) -> str:
    tools = ", ".join(f"{text(name)} {text(version)}" for name, version in sorted(report["tools"].items()))
    ran = f"Made with {tools} on Python {text(report['python'])}." if tools else f"Python {text(report['python'])}."
    return f"---\n\n{ran} SHA-256 of the canonical JSON report: {code(digest(report))}"


def _rest(total: int, shown: int) -> list[str]:
    return [f"{total - shown} more are in the JSON, HTML and SARIF reports."] if total > shown else []


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: int = 0) -> str:
    """A table whose last `right` columns are numbers."""
    rules = ["---"] * (len(heads) - right) + ["--:"] * right
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rules, *rows])
