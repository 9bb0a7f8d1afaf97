"""Read what one agent returned, keeping whatever is sound.

Findings, metrics, problems and the tool are read apart from each other, so that a fault in one of them
costs only that one. What is wrong is told in `faults`, never raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from coterie._json import JsonValue
from coterie.teams.code_review.report.clean import Malformed, clean, scrub, settle
from coterie.teams.code_review.report.finding import read_finding, relative_path
from coterie.teams.code_review.report.shape import Finding, Problem

__all__ = ["Output", "read_output", "read_problems"]

# How deep metrics lie within the report document.
_METRICS_DEPTH = 6


@dataclass(slots=True)
class Output:
    """One agent's answer: `tool` is (name, version), `metrics` a JSON object."""

    findings: list[Finding] = field(default_factory=list)
    metrics: dict[str, JsonValue] = field(default_factory=dict)
    tool: tuple[str, str] | None = None
    problems: list[Problem] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_output(raw: object, *, task: str, agent: str) -> Output:
    """Take from `raw` all that has the agreed shape."""
    output = Output()
    if not isinstance(raw, dict):
        output.faults.append(f"the output is a {type(raw).__name__}, not an object")
        return output
    _take_tool(raw.get("tool"), output)
    _take_metrics(raw.get("metrics"), output)
    tool = output.tool[0] if output.tool else agent
    for number, item in _listed(raw, "findings", output):
        try:
            output.findings.append(read_finding(item, f"findings/{number}", agent=agent, tool=tool))
        except Malformed as error:
            output.faults.append(str(error))
    output.problems, faults = read_problems(_listed(raw, "problems", output), task)
    output.faults += faults
    return output


def read_problems(entries: Iterator[tuple[int, object]], task: str) -> tuple[list[Problem], list[str]]:
    """The sound ones of `entries`, numbered {"path", "reason"} objects, and what is wrong with the others."""
    problems, faults = [], []
    for number, entry in entries:
        try:
            problems.append(_problem(entry, f"problems/{number}", task))
        except Malformed as error:
            faults.append(str(error))
    return problems, faults


def _problem(raw: object, where: str, task: str) -> Problem:
    if not isinstance(raw, dict) or not isinstance(raw.get("reason"), str):
        raise Malformed(f"{where} has no reason")
    path = raw.get("path")
    return Problem(
        task=task,
        path=None if path is None else relative_path(path, f"{where}/path"),
        reason=scrub(raw["reason"]),
    )


def _take_tool(raw: object, output: Output) -> None:
    if raw is None:
        return
    pair = (raw.get("name"), raw.get("version")) if isinstance(raw, dict) else (None, None)
    if isinstance(pair[0], str) and isinstance(pair[1], str) and pair[0]:
        output.tool = (clean(pair[0]), clean(pair[1]))
    else:
        output.faults.append("tool has no name and version")


def _take_metrics(raw: object, output: Output) -> None:
    try:
        settled = settle({} if raw is None else raw, "metrics", depth=_METRICS_DEPTH)
    except Malformed as error:
        output.faults.append(str(error))
        return
    if isinstance(settled, dict):
        output.metrics = settled
    else:
        output.faults.append("metrics is not an object")


def _listed(raw: dict[str, object], name: str, output: Output) -> Iterator[tuple[int, object]]:
    value = raw.get(name)
    if value is not None and not isinstance(value, list):
        output.faults.append(f"{name} is not a list")
    elif value is None and name == "findings":
        output.faults.append("findings is missing")
    return enumerate(value if isinstance(value, list) else [])
