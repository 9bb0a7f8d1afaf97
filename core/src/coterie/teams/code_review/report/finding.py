"""Read one finding out of an agent's output, strictly, and put it in its place among others."""

from __future__ import annotations

import re
from typing import cast

from coterie.teams.code_review.report.clean import Malformed, clean
from coterie.teams.code_review.report.shape import SEVERITIES, Finding, Severity

__all__ = ["order", "read_finding", "relative_path"]

_URI = re.compile(r"https?://[A-Za-z0-9][^\s<>\"'\\^`{|}]*\Z")
_MAX_LINE = 2**31 - 1
_RANK = {severity: rank for rank, severity in enumerate(SEVERITIES)}


def read_finding(raw: object, where: str, *, agent: str, tool: str) -> Finding:
    """The finding at `where`; `agent` and `tool` fill in for missing ones.

    A help address that is not http or https is dropped. Unknown fields are dropped.

    Raises:
        Malformed: a field has the wrong type or a value that cannot be, such as an absolute path.
    """
    if not isinstance(raw, dict):
        raise Malformed(f"{where} is {_short(raw)}, not an object")
    severity = raw.get("severity")
    if severity not in SEVERITIES:
        raise Malformed(f"{where}/severity is {_short(severity)}, not one of {', '.join(SEVERITIES)}")
    path = raw.get("path")
    line, column = (_position(raw.get(name), f"{where}/{name}") for name in ("line", "column"))
    return Finding(
        agent=_text(raw.get("agent", agent), f"{where}/agent"),
        tool=_text(raw.get("tool", tool), f"{where}/tool"),
        rule=_text(raw.get("rule"), f"{where}/rule"),
        severity=cast(Severity, severity),
        path=None if path is None else relative_path(path, f"{where}/path"),
        line=line,
        column=column,
        end_line=_position(raw.get("end_line"), f"{where}/end_line", least=line or 1),
        message=_text(raw.get("message"), f"{where}/message"),
        help_uri=_address(raw.get("help_uri")),
    )


def order(finding: Finding) -> tuple[object, ...]:
    """The sort key: severity, path (none first), line, column, agent, rule, message, then the rest."""
    return (
        _RANK[finding["severity"]],
        finding["path"] or "",
        finding["line"] or 0,
        finding["column"] or 0,
        finding["agent"],
        finding["rule"],
        finding["message"],
        finding["tool"],
        finding["end_line"] or 0,
        finding["help_uri"] or "",
    )


def relative_path(raw: object, where: str) -> str:
    """A posix path below the reviewed tree.

    Raises:
        Malformed: it is empty, absolute or leads upwards.
    """
    path = _text(raw, where)
    if path.startswith("/") or ".." in path.split("/"):
        raise Malformed(f"{where} is {path.rsplit('/', 1)[-1]!r} outside the tree, not a relative path")
    return path


def _text(raw: object, where: str) -> str:
    if not isinstance(raw, str) or not raw:
        raise Malformed(f"{where} is {_short(raw)}, not a text")
    return clean(raw)


def _position(raw: object, where: str, *, least: int = 1) -> int | None:
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int) or not least <= raw <= _MAX_LINE:
        raise Malformed(f"{where} is {_short(raw)}, not a number from {least}")
    return raw


def _address(raw: object) -> str | None:
    return raw if isinstance(raw, str) and _URI.match(clean(raw)) and raw.isascii() else None


def _short(raw: object) -> str:
    text = f"a {type(raw).__name__}" if isinstance(raw, dict | list) else clean(repr(raw))
    return text if len(text) <= 60 else f"{text[:59]}…"
