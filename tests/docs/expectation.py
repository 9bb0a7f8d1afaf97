"""Compares what a document says a program prints with what it printed.

What differs from run to run is compared by its kind: times (`0.3 s`, `12 ms`), instants (`2026-11-27 11:02:03 UTC`),
run ids (UUIDs), SHA-256 digests, and the folder that the reader works in, which the documents call `/srv/demo`. A
plan's hash (after `hash`) is the same in every run: it is compared as it is. A line `...` stands for any number of
lines. One blank counts as much as several.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

__all__ = ["FOLDER", "difference"]

FOLDER = "/srv/demo"

_KINDS = [
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"(?<!hash )(?<!hash\": \")\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\b"), "INSTANT"),
    (re.compile(r"\b\d+ min \d+ s\b|\b\d+(?:\.\d+)? ?(?:s|ms)\b"), "TIME"),
]


def difference(expected: str, printed: str, *, folder: Path | None = None) -> str | None:
    """What differs, for people; None if nothing does."""
    if folder is not None:
        printed = printed.replace(folder.as_uri(), f"file://{FOLDER}").replace(str(folder), FOLDER)
    wanted, found = _lines(expected), _lines(printed)
    if _match(wanted, found):
        return None
    return "\n".join(difflib.unified_diff(wanted, found, "the document", "printed", lineterm=""))


def _lines(text: str) -> list[str]:
    # One blank first: it tells a plan's hash from a digest.
    text = "\n".join(re.sub(r"\s+", " ", line).rstrip() for line in text.splitlines())
    for pattern, kind in _KINDS:
        text = pattern.sub(kind, text)
    lines = text.split("\n")
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def _match(wanted: list[str], found: list[str]) -> bool:
    """Whether `found` is `wanted`, where `...` may stand for any lines."""
    at, parts = 0, _between(wanted)
    if len(parts) == 1:
        return wanted == found
    first, *middle, last = parts
    if found[: len(first)] != first or len(found) < len(first) + len(last):
        return False
    at, end = len(first), len(found) - len(last)
    if last and found[end:] != last:
        return False
    for part in middle:
        at = next((i + len(part) for i in range(at, end - len(part) + 1) if found[i : i + len(part)] == part), -1)
        if at < 0:
            return False
    return True


def _between(lines: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    return parts
