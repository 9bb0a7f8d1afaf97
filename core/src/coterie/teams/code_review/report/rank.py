"""Order findings, drop exact repetitions, count them, and find the files to look at first."""

from __future__ import annotations

from collections.abc import Iterable

from coterie.teams.code_review.report.finding import order
from coterie.teams.code_review.report.shape import (
    SEVERITIES,
    Counts,
    Finding,
    Hotspot,
    RuleCount,
    Summary,
)

__all__ = ["WEIGHTS", "count", "hotspots", "rank", "summarise"]

WEIGHTS = {"error": 10, "warning": 3, "note": 1}
_HOTSPOTS = 20


def rank(findings: Iterable[Finding]) -> list[Finding]:
    """`findings` from the gravest on, one of each set of equals. Two tools that say alike both stay."""
    unique = {order(finding): finding for finding in findings}
    return [unique[key] for key in sorted(unique)]


def count(findings: Iterable[Finding]) -> Counts:
    """How many there are of each severity."""
    counts = Counts(error=0, warning=0, note=0)
    for finding in findings:
        counts[finding["severity"]] += 1
    return counts


def summarise(findings: list[Finding], agents: Iterable[str]) -> Summary:
    """Count ranked `findings`; each of `agents` gets a line, also without findings."""
    by_agent: dict[str, list[Finding]] = {agent: [] for agent in agents}
    by_file: dict[str, list[Finding]] = {}
    for finding in findings:
        by_agent.setdefault(finding["agent"], []).append(finding)
        if finding["path"] is not None:
            by_file.setdefault(finding["path"], []).append(finding)
    return Summary(
        findings=len(findings),
        severity=count(findings),
        agents={agent: count(own) for agent, own in by_agent.items()},
        rules=_rules(findings),
        files={path: count(own) for path, own in by_file.items()},
    )


def hotspots(summary: Summary) -> list[Hotspot]:
    """The 20 files with the highest score (10 per error, 3 per warning, 1 per note), then by path."""
    spots = [
        Hotspot(path=path, score=sum(WEIGHTS[level] * counts[level] for level in SEVERITIES), **counts)
        for path, counts in summary["files"].items()
    ]
    return sorted(spots, key=lambda spot: (-spot["score"], spot["path"]))[:_HOTSPOTS]


def _rules(findings: list[Finding]) -> list[RuleCount]:
    """One line a rule, most frequent first. The first finding of a rule is its gravest."""
    rules: dict[tuple[str, str, str], RuleCount] = {}
    for finding in findings:
        key = finding["agent"], finding["tool"], finding["rule"]
        line = rules.setdefault(key, _rule(finding))
        line["findings"] += 1
        line[finding["severity"]] += 1
        line["help_uri"] = line["help_uri"] or finding["help_uri"]
    return sorted(rules.values(), key=lambda line: (-line["findings"], line["agent"], line["tool"], line["rule"]))


def _rule(finding: Finding) -> RuleCount:
    return RuleCount(
        agent=finding["agent"],
        tool=finding["tool"],
        rule=finding["rule"],
        severity=finding["severity"],
        findings=0,
        error=0,
        warning=0,
        note=0,
        help_uri=finding["help_uri"],
    )
