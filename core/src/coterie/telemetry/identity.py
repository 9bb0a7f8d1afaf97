"""One trace for each workflow run, whoever takes part in it: its ids follow from the run's name, or from who began it.

Pure, and without OpenTelemetry: ids are numbers, contexts are W3C `traceparent` texts.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

from coterie.ids import WorkflowId

__all__ = ["Parent", "parsed_parent", "root_span_id", "run_trace_id", "traceparent_text", "work_span_id"]

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class Parent(NamedTuple):
    """The span that a `traceparent` names."""

    trace_id: int
    span_id: int
    sampled: bool


def run_trace_id(namespace: str, run: WorkflowId) -> int:
    """The trace of a run that no sampled context began: the same in every process."""
    return _number("coterie-trace", namespace, run, bytes_=16)


def root_span_id(namespace: str, run: WorkflowId) -> int:
    """The span of the run itself, under which all others of it lie."""
    return _number("coterie-root", namespace, run, bytes_=8)


def work_span_id(namespace: str, run: WorkflowId, unit: str, mark: str) -> int:
    """The span of one attempt at a unit of work, named by the mark of its claim: whoever takes over can name it."""
    return _number("coterie-work", namespace, run, unit, mark, bytes_=8)


def parsed_parent(traceparent: str | None) -> Parent | None:
    """What a W3C `traceparent` says; None where it says nothing that can be used."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None:
        return None
    trace_id, span_id, flags = (int(digits, 16) for digits in found.groups())
    return Parent(trace_id, span_id, bool(flags & 1)) if trace_id and span_id else None


def traceparent_text(parent: Parent) -> str:
    """The other way."""
    return f"00-{parent.trace_id:032x}-{parent.span_id:016x}-{'01' if parent.sampled else '00'}"


def _number(*parts: str, bytes_: int) -> int:
    digest = sha256("\n".join(parts).encode()).digest()
    # Zero is no id.
    return int.from_bytes(digest[:bytes_]) or 1
