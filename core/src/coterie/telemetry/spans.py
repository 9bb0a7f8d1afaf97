"""Between our identities and OpenTelemetry's: parents as contexts, and a span that is the current one in a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags, set_span_in_context

from coterie.telemetry.failing import note_error
from coterie.telemetry.identity import Parent
from coterie.telemetry.tracer import end

__all__ = ["NO_PARENT", "context_of", "current_parent", "live", "parent_of", "within"]

NO_PARENT = Context()


def context_of(parent: Parent) -> SpanContext:
    """A span of another process, for a link."""
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    return SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)


def within(parent: Parent) -> Context:
    """The context in which spans lie under one of another process."""
    return set_span_in_context(NonRecordingSpan(context_of(parent)), NO_PARENT)


def parent_of(context: SpanContext) -> Parent:
    """A span as a parent for other processes."""
    return Parent(context.trace_id, context.span_id, context.trace_flags.sampled)


def current_parent() -> Parent | None:
    """The current span, as a parent; None where there is none."""
    here = trace.get_current_span().get_span_context()
    return parent_of(here) if here.is_valid else None


@contextmanager
def live(span: Span) -> Iterator[Span]:
    """The current span in the block, which ends with it, and says what ended it."""
    token = attach(set_span_in_context(span))
    try:
        yield span
    except BaseException as error:
        note_error(span, error)
        raise
    finally:
        detach(token)
        end(span)
