"""Put together what the tasks of a review left behind, and name what they did not.

A task that failed, was skipped or answered nonsense, and an item that failed, each becomes an entry in
`missing`; nothing that succeeded is lost for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from coterie._json import JsonValue
from coterie.teams.code_review.report.clean import clean, scrub
from coterie.teams.code_review.report.output import Output, read_output
from coterie.teams.code_review.report.shape import (
    Finding,
    ItemRecord,
    Missing,
    Problem,
    TaskRecord,
    TaskSummary,
)

__all__ = ["AGENTS", "Part", "gather", "missing_order"]

# The agent types behind the tasks of the team's own plan.
AGENTS = {
    "docs": "documenter",
    "lint": "linter",
    "measure": "analyzer",
    "security": "security",
    "snapshot": "snapshotter",
    "structure": "analyzer",
    "tests": "tester",
}
_FAULTS_TOLD = 3


@dataclass(slots=True)
class Part:
    """One task's share of the report. `tools` holds (name, version) pairs."""

    task: str
    agent: str
    state: str
    findings: list[Finding] = field(default_factory=list)
    metrics: dict[str, JsonValue] = field(default_factory=dict)
    tools: set[tuple[str, str]] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    items: int = 0
    items_failed: int = 0

    def summary(self) -> TaskSummary:
        """The line of the report's `tasks` for this part."""
        return TaskSummary(
            task=self.task,
            agent=self.agent,
            tools=sorted({name for name, _ in self.tools}),
            state=self.state,
            findings=len(self.findings),
            items=self.items,
            items_failed=self.items_failed,
        )


def gather(record: TaskRecord, agents: dict[str, str]) -> Part:
    """The part that one upstream task contributes; `agents` overrides the well-known agent types."""
    task = record["task"]
    part = Part(task, agents.get(task) or AGENTS.get(task) or task, record["state"])
    if record["state"] != "succeeded":
        _miss(part, record["state"], record["reason"] or "no reason was given")
    if record["items"] is not None:
        _gather_items(part, record["items"])
    elif record["state"] == "succeeded":
        output = read_output(record["output"], task=task, agent=part.agent)
        _add(part, output, item=None)
        part.metrics = output.metrics
    return part


def missing_order(entry: Missing) -> tuple[str, bool, str, str, str]:
    """Tasks by name, each before its items."""
    return entry["task"], "item" in entry, entry.get("item", ""), entry["state"], entry["reason"]


def _gather_items(part: Part, items: list[ItemRecord]) -> None:
    """Metrics of items are kept by item, with the sum, mean and extremes of each number over all of them."""
    metrics: dict[str, dict[str, JsonValue]] = {}
    for item in sorted(items, key=lambda each: each["key"]):
        part.items += 1
        if item["state"] != "succeeded":
            part.items_failed += 1
            _miss(part, item["state"], item["reason"] or "no reason was given", item=item["key"])
            continue
        output = read_output(item["output"], task=part.task, agent=part.agent)
        _add(part, output, item=item["key"])
        metrics[clean(item["key"])] = output.metrics
    part.metrics = {"items": dict(metrics), "over_items": _over(list(metrics.values()))}


def _over(metrics: list[dict[str, JsonValue]]) -> JsonValue:
    columns: dict[str, list[float]] = {}
    for each in metrics:
        for name, value in each.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                columns.setdefault(name, []).append(value)
    return {name: _folded(values) for name, values in columns.items()}


def _folded(values: list[float]) -> JsonValue:
    # An exact sum: rounding must not depend on who finished first. Beyond 2**53 a JSON number is not exact.
    total = math.fsum(values)
    exact = abs(total) < 2**53
    return {
        "count": len(values),
        "total": total if exact else None,
        "mean": total / len(values),
        "min": min(values),
        "max": max(values),
    }


def _add(part: Part, output: Output, *, item: str | None) -> None:
    part.findings += output.findings
    part.problems += output.problems
    if output.tool:
        part.tools.add(output.tool)
    if output.faults:
        told = "; ".join(output.faults[:_FAULTS_TOLD])
        more = len(output.faults) - _FAULTS_TOLD
        _miss(part, "malformed", f"{told}; and {more} more" if more > 0 else told, item=item)


def _miss(part: Part, state: str, reason: str, *, item: str | None = None) -> None:
    entry = Missing(task=part.task, agent=part.agent, state=state, reason=scrub(reason))
    if item is not None:
        entry["item"] = clean(item)
    part.missing.append(entry)
