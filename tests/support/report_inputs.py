"""Inputs for reports: findings, agents' outputs and task records with one thing changed at a time."""

from __future__ import annotations

from typing import Any

from coterie.teams.code_review.report import Inputs, Report, build_report

HOSTILE = (
    "<script>alert(1)</script> \"><img src=x onerror=alert(1)> '-- ${7*7} "
    "`x` [a](javascript:b) |\u202e\x00\x1b[31m @all"
)


def finding(**changes: Any) -> dict[str, Any]:
    return {
        "agent": "linter",
        "tool": "ruff",
        "rule": "F401",
        "severity": "warning",
        "path": "pkg/a.py",
        "line": 3,
        "column": 1,
        "end_line": None,
        "message": "unused import",
        "help_uri": "https://docs.example/F401",
    } | changes


def output(*findings: dict[str, Any], tool: str = "ruff", version: str = "1.0", **parts: Any) -> dict[str, Any]:
    whole = {"findings": list(findings), "metrics": {}, "tool": {"name": tool, "version": version}, "problems": []}
    return whole | parts


def record(task: str, output: Any = None, *, state: str = "succeeded", reason: str | None = None) -> dict[str, Any]:
    return {"task": task, "state": state, "output": output, "reason": reason, "items": None}


def foreach(task: str, *items: dict[str, Any], state: str = "succeeded") -> dict[str, Any]:
    return {"task": task, "state": state, "output": None, "reason": None, "items": list(items)}


def item(key: str, output: Any = None, *, state: str = "succeeded", reason: str | None = None) -> dict[str, Any]:
    return {"key": key, "state": state, "output": output, "reason": reason}


def snapshot(*paths: str, name: str = "shop", revision: str | None = "abc123", **parts: Any) -> dict[str, Any]:
    files = [{"path": path, "sha256": "0" * 64, "size_bytes": 1000, "media_type": "text/x-python"} for path in paths]
    source = {"kind": "git", "name": name, "revision": revision}
    whole = {"schema": 1, "source": source, "files": files, "python_files": files, "skipped": []}
    return record("snapshot", whole | parts)


def inputs(*tasks: Any, python: str = "3.11") -> Inputs:
    return Inputs(tasks=list(tasks), snapshot="snapshot", agents={}, python=python)


def report(*tasks: Any) -> Report:
    return build_report(inputs(*tasks))
