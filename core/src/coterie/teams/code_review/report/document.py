"""The report document: engine-independent, and the same bytes wherever it is made.

It holds no time, no duration, no absolute path and no name of an engine. Lists are sorted, floats rounded to
4 places. A review is "partial" as soon as a task or item failed or gave a malformed answer; what a plan
skipped on purpose is listed as missing too, but leaves the review "complete". There is no overall grade:
counts of findings by tools as different as these do not add up to an honest one.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

import rfc8785

from coterie.errors import Misuse
from coterie.teams.code_review.report.clean import clean, settle
from coterie.teams.code_review.report.merge import Part, gather, missing_order
from coterie.teams.code_review.report.rank import hotspots, rank, summarise
from coterie.teams.code_review.report.shape import Inputs, Problem, Report
from coterie.teams.code_review.report.tree import read_tree

__all__ = ["build_report", "canonical_bytes", "digest"]


def build_report(inputs: Inputs) -> Report:
    """Merge whatever the tasks left into one document; what is missing is named in it, never raised."""
    records = sorted(inputs["tasks"], key=lambda record: record["task"])
    tree = read_tree(next((each for each in records if each["task"] == inputs["snapshot"]), None))
    parts = [gather(each, inputs["agents"]) for each in records if each["task"] != inputs["snapshot"]]
    findings = rank(finding for part in parts for finding in part.findings)
    summary = summarise(findings, sorted({part.agent for part in parts}))
    missing = sorted([*tree.missing, *(each for part in parts for each in part.missing)], key=missing_order)
    report = Report(
        schema=1,
        source=tree.source,
        status="partial" if any(each["state"] != "skipped" for each in missing) else "complete",
        missing=missing,
        problems=_problems([*tree.problems, *(each for part in parts for each in part.problems)]),
        summary=summary,
        hotspots=hotspots(summary),
        tasks=[part.summary() for part in parts],
        metrics=_metrics(parts),
        findings=findings,
        tools=_tools(parts),
        python=clean(inputs["python"]),
    )
    return cast(Report, settle(report, "report"))


def canonical_bytes(document: object) -> bytes:
    """The canonical JSON of `document`.

    Raises:
        Misuse: it holds what RFC 8785 cannot say: NaN, an infinity, a huge integer, invalid Unicode.

    Source: RFC 8785, JSON Canonicalization Scheme.
    """
    try:
        return rfc8785.dumps(cast(Any, document))
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise Misuse(f"no canonical form: {error}; make the document with build_report") from error


def digest(report: Report) -> str:
    """SHA-256 of the canonical bytes, in hexadecimal."""
    return hashlib.sha256(canonical_bytes(report)).hexdigest()


def _problems(problems: list[Problem]) -> list[Problem]:
    unique = {(each["task"], each["path"] or "", each["reason"]): each for each in problems}
    return [unique[key] for key in sorted(unique)]


def _metrics(parts: list[Part]) -> dict[str, dict[str, Any]]:
    metrics: dict[str, dict[str, Any]] = {}
    for part in parts:
        if part.metrics:
            metrics.setdefault(part.agent, {})[part.task] = part.metrics
    return metrics


def _tools(parts: list[Part]) -> dict[str, str]:
    """Versions by tool; workers that disagree about one are all named."""
    versions: dict[str, set[str]] = {}
    for part in parts:
        for name, version in part.tools:
            versions.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(own)) for name, own in versions.items()}
