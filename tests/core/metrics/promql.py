"""What rules and dashboards ask Prometheus for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.core.metrics.desk import OBSERVABILITY

__all__ = ["DASHBOARDS", "RULES", "alerts", "asked_for", "dashboards", "panels", "recorded", "rules"]

RULES = OBSERVABILITY / "prometheus" / "coterie.rules.yml"
DASHBOARDS = OBSERVABILITY / "grafana" / "dashboards"
# Names of series; what stands in quotes is a label's value, and what stands in braces before `=` its name.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACES = re.compile(r"\{[^{}]*\}")
_LABEL_LISTS = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^()]*\)")
_NAME = re.compile(r"(?<![\w:$.])[a-zA-Z_:][\w:]*(?!\w*\s*\()")
_WORDS = {"and", "or", "unless", "on", "ignoring", "by", "without", "bool", "offset", "group_left", "group_right"}


def asked_for(expression: str) -> set[str]:
    """The series that an expression names."""
    bare = expression
    for pattern in (_QUOTED, _BRACES, _LABEL_LISTS, re.compile(r"\[[^\]]*\]")):
        bare = pattern.sub(" ", bare)
    return {name for name in _NAME.findall(bare) if name not in _WORDS}


def rules() -> list[dict[str, Any]]:
    """All rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> dict[str, str]:
    """The expressions that are recorded, by name."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def dashboards() -> dict[str, dict[str, Any]]:
    """The dashboards by file."""
    return {path.name: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels() -> Iterator[tuple[str, str]]:
    """Where, and what a panel or a variable queries."""
    for name, board in dashboards().items():
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{name}: {panel['title']}", target["expr"]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                values = re.fullmatch(r"label_values\((.*), *\w+\)", variable["query"]["query"])
                assert values is not None
                yield f"{name}: ${variable['name']}", values[1]
