"""The one form in which every reviewing agent answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from coterie._json import JsonValue

__all__ = ["Finding", "Problem", "Severity", "judgement"]

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a person should look at.

    path: relative to the reviewed tree, with `/`; None for the tree as a whole.
    line, column, end_line: counted from 1; None where they mean nothing.
    """

    agent: str
    tool: str
    rule: str
    severity: Severity
    message: str
    path: str | None = None
    line: int | None = None
    column: int | None = None
    end_line: int | None = None
    help_uri: str | None = None

    @property
    def place(self) -> tuple[str, int, int, str, str]:
        """The order of findings: by file, then from top to bottom; the tree's own come first."""
        return (self.path or "", self.line or 0, self.column or 0, self.rule, self.message)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A file that an agent could not judge, and why."""

    path: str
    reason: str


def judgement(
    findings: Iterable[Finding],
    *,
    metrics: Mapping[str, JsonValue],
    tool: tuple[str, str],
    problems: Iterable[Problem] = (),
) -> dict[str, JsonValue]:
    """An agent's whole answer as JSON: sorted, without times or absolute paths, floats to 4 places.

    tool: name and version.
    """
    return {
        "findings": [asdict(finding) for finding in sorted(findings, key=lambda finding: finding.place)],
        "metrics": _rounded(dict(metrics)),
        "tool": {"name": tool[0], "version": tool[1]},
        "problems": [asdict(problem) for problem in sorted(set(problems))],
    }


def _rounded(value: JsonValue) -> JsonValue:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
