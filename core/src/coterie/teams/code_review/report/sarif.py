"""The report as SARIF 2.1.0, the form that code hosts read.

One run for each agent and tool, each with its own `automationDetails.id`: code hosts track alerts by tool and
category and refuse two runs of one category in one file. An agent that is missing still has a run, empty and
marked as not successful, under the name "coterie AGENT" instead of its tool's: an empty run under the tool's
own name would tell the host that all its earlier alerts are fixed. Nothing is cut here; hosts have limits.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0 Plus Errata 01", 2023.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from urllib.parse import quote

from coterie._json import JsonValue
from coterie.teams.code_review.report.shape import Finding, Missing, Problem, Report, RuleCount

__all__ = ["SCHEMA_URI", "to_sarif"]

SCHEMA_URI = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "%SRCROOT%"
_NUMBERS = re.compile(r"\d+")
_LINK = re.compile(r"\[(?=[^\[\]]*\]\()")

_Run = tuple[str, str]


def to_sarif(report: Report) -> dict[str, JsonValue]:
    """The SARIF log of `report`, a JSON object."""
    return {
        "$schema": SCHEMA_URI,
        "version": "2.1.0",
        "runs": [_run(report, agent, tool) for agent, tool in _runs(report)],
    }


def _runs(report: Report) -> list[_Run]:
    """The (agent, tool) pairs that ran or spoke; for a task without any tool, the agent stands for it."""
    pairs = {(finding["agent"], finding["tool"]) for finding in report["findings"]}
    for task in report["tasks"]:
        pairs |= {(task["agent"], tool) for tool in task["tools"]}
    agents = {task["agent"] for task in report["tasks"]} - {agent for agent, _ in pairs}
    # A task that left no tool behind, of an agent that did other work, is told in that agent's runs.
    return sorted(pairs | {(agent, f"coterie {agent}") for agent in agents})


def _run(report: Report, agent: str, tool: str) -> JsonValue:
    rules = [rule for rule in report["summary"]["rules"] if (rule["agent"], rule["tool"]) == (agent, tool)]
    rules.sort(key=lambda rule: rule["rule"])
    places = {rule["rule"]: number for number, rule in enumerate(rules)}
    own = [each for each in report["findings"] if (each["agent"], each["tool"]) == (agent, tool)]
    fingerprints = _fingerprints(own)
    driver: dict[str, JsonValue] = {"name": tool, "rules": [_rule(rule) for rule in rules]}
    if tool in report["tools"]:
        driver["version"] = report["tools"][tool]
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"coterie/code-review/{quote(agent, safe='')}/{quote(tool, safe='')}/"},
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The root of the reviewed tree."}}},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(report, agent)],
        "results": [_result(each, places, mark) for each, mark in zip(own, fingerprints, strict=True)],
        "properties": {"agent": agent, "python": report["python"], **_revision(report)},
    }


def _rule(rule: RuleCount) -> JsonValue:
    title = f"{rule['tool']} {rule['rule']}"
    descriptor: dict[str, JsonValue] = {
        "id": rule["rule"],
        "shortDescription": {"text": title},
        "fullDescription": {"text": f"{title}, reported by the {rule['agent']} agent"},
        "defaultConfiguration": {"level": rule["severity"]},
        "properties": {"tags": [rule["agent"]]},
    }
    if rule["help_uri"]:
        descriptor["helpUri"] = rule["help_uri"]
        descriptor["help"] = {"text": f"See {rule['help_uri']}"}
    else:
        descriptor["help"] = {"text": f"See the documentation of {rule['tool']}."}
    return descriptor


def _result(finding: Finding, places: dict[str, int], fingerprint: str) -> JsonValue:
    return {
        "ruleId": finding["rule"],
        "ruleIndex": places[finding["rule"]],
        "level": finding["severity"],
        "message": {"text": _plain(finding["message"])},
        "locations": [{"physicalLocation": _location(finding)}],
        "partialFingerprints": {"coterieFinding/v1": fingerprint},
    }


def _location(finding: Finding) -> JsonValue:
    location: dict[str, JsonValue] = {"artifactLocation": _artifact(finding["path"])}
    if finding["line"] is not None:
        names = {"line": "startLine", "column": "startColumn", "end_line": "endLine"}
        location["region"] = {
            theirs: finding[ours]  # type: ignore[literal-required]
            for ours, theirs in names.items()
            if finding[ours] is not None  # type: ignore[literal-required]
        }
    return location


def _artifact(path: str | None) -> JsonValue:
    """Code hosts refuse results without a place, so a finding about the whole tree points at its root."""
    return {"uri": "." if path is None else quote(path, safe="/"), "uriBaseId": _ROOT}


def _invocation(report: Report, agent: str) -> JsonValue:
    missing = [each for each in report["missing"] if each["agent"] == agent]
    tasks = {task["task"] for task in report["tasks"] if task["agent"] == agent}
    notes = [_missing(each) for each in missing]
    notes += [_problem(each) for each in report["problems"] if each["task"] in tasks]
    return {"executionSuccessful": not missing, "toolExecutionNotifications": notes}


def _missing(entry: Missing) -> JsonValue:
    item = f", item {entry['item']}" if "item" in entry else ""
    level = "note" if entry["state"] == "skipped" else "error"
    said = f"task {entry['task']}{item}: {entry['state']}: {entry['reason']}"
    return {"level": level, "message": {"text": _plain(said)}}


def _problem(problem: Problem) -> JsonValue:
    note: dict[str, JsonValue] = {"level": "warning", "message": {"text": _plain(problem["reason"])}}
    if problem["path"] is not None:
        note["locations"] = [{"physicalLocation": {"artifactLocation": _artifact(problem["path"])}}]
    return note


def _fingerprints(findings: list[Finding]) -> list[str]:
    """One for each finding, which survives edits elsewhere in the file.

    It is made of tool, rule, path, the message without its numbers, and the place among equals. Neither line
    numbers nor the code's text enter.
    """
    seen: Counter[str] = Counter()
    marks = []
    for finding in findings:
        parts = finding["tool"], finding["rule"], finding["path"] or "", _NUMBERS.sub("#", finding["message"])
        base = "\x00".join(parts)
        marks.append(hashlib.sha256(f"{base}\x00{seen[base]}".encode()).hexdigest()[:32])
        seen[base] += 1
    return marks


def _revision(report: Report) -> dict[str, JsonValue]:
    source = report["source"]
    return {"revision": source["revision"]} if source and source["revision"] else {}


def _plain(message: str) -> str:
    """`message` as SARIF plain text (sections 3.11.5 and 3.11.6).

    Braces are doubled, since `{0}` is a placeholder, and a bracket that would begin a link is escaped.
    """
    return _LINK.sub(r"\\[", message.replace("{", "{{").replace("}", "}}"))
