"""Whether anybody records spans in this process, found out without importing OpenTelemetry where nobody did."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from coterie.telemetry.counting import count_run

if TYPE_CHECKING:
    from coterie.ids import WorkflowId
    from coterie.journal.journal import Journal
    from coterie.result import WorkflowResult
    from coterie.run import Run
    from coterie.telemetry.tracing import RunTrace

__all__ = ["had_ended", "is_recording", "open_trace", "record_run", "traceparent_here", "unsampled_here"]


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


def unsampled_here(run: Run) -> str | None:
    """What tells others that a run is not recorded, where this process has decided so; None where nobody decides."""
    if not is_recording():
        return None
    from coterie.telemetry.identity import Parent, root_span_id, run_trace_id, traceparent_text

    ids = run_trace_id(run.namespace, run.workflow_id), root_span_id(run.namespace, run.workflow_id)
    return traceparent_text(Parent(*ids, sampled=False))


async def had_ended(run: WorkflowId, journal: Journal | None) -> bool:
    """Whether a run that is gone on with had ended before; False where nobody records spans.

    Raises:
        Unavailable: the journal does not answer.
    """
    return is_recording() and journal is not None and await journal.is_concluded(run)


async def record_run(
    result: WorkflowResult, *, namespace: str, journal: Journal | None = None, again: bool | None = None
) -> None:
    """Count a run whose tasks other processes performed, and make its span: once, by who concludes it.

    journal: where the run is kept, if anywhere; it knows in whose trace it was begun. again: whether the run had ended
    before, as of `had_ended`; by default as the journal says, which has not been told of this end yet.

    Raises:
        Unavailable: the journal does not answer.
    """
    count_run(result.status, result.duration_s)
    if not is_recording():
        return
    from coterie.run import Run

    run = Run(result.workflow_id, namespace)
    if journal is not None:
        header = await journal.header(run.workflow_id)
        run.traceparent = header.traceparent if header is not None else None
        run.was_concluded = await journal.is_concluded(run.workflow_id) if again is None else again
    trace = open_trace(run)
    if trace is not None:
        trace.concluded(result)
