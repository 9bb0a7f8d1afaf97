"""The shapes of what goes into a report and of the report document itself.

They are JSON objects, described as typed dictionaries; `document.py` says how the one becomes the other.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from coterie._json import JsonValue

__all__ = [
    "SEVERITIES",
    "Counts",
    "Finding",
    "Hotspot",
    "Inputs",
    "ItemRecord",
    "Missing",
    "Problem",
    "Report",
    "RuleCount",
    "Severity",
    "Source",
    "SourceFile",
    "Summary",
    "TaskRecord",
    "TaskSummary",
]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class ItemRecord(TypedDict):
    """One item of a `foreach` task: its key, how it ended, its output or why there is none.

    `state` is a task state, or "unreadable" if the output could not be read back.
    """

    key: str
    state: str
    output: JsonValue
    reason: str | None


class TaskRecord(TypedDict):
    """One upstream task: how it ended, with `output`, or `items` if it is a `foreach`, or a `reason`.

    `state` is a task state, or "unreadable" if the output could not be read back.
    """

    task: str
    state: str
    output: JsonValue
    reason: str | None
    items: list[ItemRecord] | None


class Inputs(TypedDict):
    """What a report is made from. The order of `tasks` and of their items has no influence.

    snapshot: the task whose output is the tree manifest; agents: the agent type behind a task, where it is
    not one of the well-known ones; python: the interpreter's minor version, such as "3.11".
    """

    tasks: list[TaskRecord]
    snapshot: str
    agents: dict[str, str]
    python: str


class Finding(TypedDict):
    """One thing a tool says about a place. Lines and columns count from 1; `path` is relative and posix."""

    agent: str
    tool: str
    rule: str
    severity: Severity
    path: str | None
    line: int | None
    column: int | None
    end_line: int | None
    message: str
    help_uri: str | None


class Missing(TypedDict):
    """A part of the review that is not in the report. `state` is the task's, or "malformed"."""

    task: str
    agent: str
    item: NotRequired[str]
    state: str
    reason: str


class Problem(TypedDict):
    """A file that a task could not judge; the task itself did its work."""

    task: str
    path: str | None
    reason: str


class SourceFile(TypedDict):
    """A Python file of the reviewed tree."""

    path: str
    size_bytes: int


class Source(TypedDict):
    """What was reviewed. `files` counts all files of the tree."""

    kind: str
    name: str
    revision: str | None
    files: int
    python_files: list[SourceFile]


class Counts(TypedDict):
    """Findings by severity."""

    error: int
    warning: int
    note: int


class RuleCount(TypedDict):
    """How often one rule of one tool spoke, in all and by severity; `severity` is the worst it used."""

    agent: str
    tool: str
    rule: str
    severity: Severity
    findings: int
    error: int
    warning: int
    note: int
    help_uri: str | None


class Hotspot(TypedDict):
    """A file worth looking at first: score = 10 per error + 3 per warning + 1 per note."""

    path: str
    score: int
    error: int
    warning: int
    note: int


class Summary(TypedDict):
    """Counts over all findings; `agents` also lists those that found nothing."""

    findings: int
    severity: Counts
    agents: dict[str, Counts]
    rules: list[RuleCount]
    files: dict[str, Counts]


class TaskSummary(TypedDict):
    """How one task of the review went. `items_failed` and `items` are 0 for a task without items."""

    task: str
    agent: str
    tools: list[str]
    state: str
    findings: int
    items: int
    items_failed: int


class Report(TypedDict):
    """The report document, version 1."""

    schema: Literal[1]
    source: Source | None
    status: Literal["complete", "partial"]
    missing: list[Missing]
    problems: list[Problem]
    summary: Summary
    hotspots: list[Hotspot]
    tasks: list[TaskSummary]
    metrics: dict[str, dict[str, JsonValue]]
    findings: list[Finding]
    tools: dict[str, str]
    python: str
