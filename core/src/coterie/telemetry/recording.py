"""Whether anybody records spans in this process, found out without importing OpenTelemetry where nobody did."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from coterie.telemetry.counting import count_run

if TYPE_CHECKING:
    from coterie.journal.journal import Journal
    from coterie.result import WorkflowResult
    from coterie.run import Run
    from coterie.telemetry.tracing import RunTrace

__all__ = ["is_recording", "open_trace", "record_run", "traceparent_here"]


def is_recording() -> bool:
    """Whether a tracer provider was set; whoever sets one has imported OpenTelemetry, or named one by environment."""
    if "opentelemetry.trace" not in sys.modules and "OTEL_PYTHON_TRACER_PROVIDER" not in os.environ:
        return False
    from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, get_tracer_provider

    return not isinstance(get_tracer_provider(), (ProxyTracerProvider, NoOpTracerProvider))


def open_trace(
    run: Run, *, alone: bool = False, called_by: str | None = None, is_awaited: bool = False
) -> RunTrace | None:
    """The spans of a run that this process makes; None where nobody records any.

    alone: whether no other process takes part in the run, so that its trace is that of the current span, if any.
    called_by: the `traceparent` of whoever asked for the work. is_awaited: whether he waits for it, so that his span
    holds ours; else ours link to it.
    """
    if not is_recording():
        return None
    from coterie.telemetry.tracing import RunTrace

    return RunTrace.opened(run, alone=alone, called_by=called_by, is_awaited=is_awaited)


def traceparent_here() -> str | None:
    """The current span's context as W3C Trace Context has it, where that is recorded and sampled; else None."""
    if not is_recording():
        return None
    from coterie.telemetry.identity import traceparent_text
    from coterie.telemetry.spans import current_parent

    parent = current_parent()
    return traceparent_text(parent) if parent is not None and parent.sampled else None


async def record_run(result: WorkflowResult, *, namespace: str, journal: Journal | None = None) -> None:
    """Count a run whose tasks other processes performed, and make its span: once, by who concludes it.

    journal: where the run is kept, if anywhere; it knows in whose trace it was begun.

    Raises:
        Unavailable: the journal does not answer.
    """
    count_run(result.status, result.duration_s)
    if not is_recording():
        return
    from coterie.run import Run

    header = await journal.header(result.workflow_id) if journal is not None else None
    trace = open_trace(
        Run(result.workflow_id, namespace, traceparent=header.traceparent if header is not None else None)
    )
    if trace is not None:
        trace.concluded(result)
