"""Our own tracer, which can be told the ids of the span that it starts next."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, NoOpTracer, Span, SpanKind, Tracer

from coterie.telemetry.names import SCHEMA_URL, SCOPE

__all__ = ["Attributes", "OurTracer", "end", "tracer_here"]

_log = logging.getLogger("coterie.telemetry")

Attributes = dict[str, str | bool | int | float]


class _PlannedIds:
    """Another generator's ids, unless the next ones are planned; for OpenTelemetry's SDK."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._planned = threading.local()

    def plan(self, trace_id: int | None, span_id: int | None) -> None:
        """Have the next span of this thread take these ids; the trace's only if it has no parent."""
        self._planned.trace_id, self._planned.span_id = trace_id, span_id

    def generate_span_id(self) -> int:
        """See `IdGenerator`."""
        planned = getattr(self._planned, "span_id", None)
        return planned or int(self._inner.generate_span_id())

    def generate_trace_id(self) -> int:
        """See `IdGenerator`."""
        planned = getattr(self._planned, "trace_id", None)
        return planned or int(self._inner.generate_trace_id())

    def is_trace_id_random(self) -> bool:
        """See `IdGenerator`; a hash is as good as chance, for samplers that count on it."""
        asked = getattr(self._inner, "is_trace_id_random", None)
        return bool(asked and asked())


class _PlannedDecision:
    """Another sampler's decisions, unless that on the next span is made already; for OpenTelemetry's SDK.

    Samplers that count are asked once for each run.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._planned = threading.local()

    def plan(self, decided: Any) -> None:
        """Have this thread's next span decided upon so; None: the sampler is asked."""
        self._planned.decided = decided

    def should_sample(
        self, context: Any, trace_id: int, name: str, kind: Any = None, attributes: Any = None, *more: Any, **named: Any
    ) -> Any:
        """See `Sampler`."""
        decided = getattr(self._planned, "decided", None)
        if decided is None:
            return self._inner.should_sample(context, trace_id, name, kind, attributes, *more, **named)
        return type(decided)(decided.decision, {**(attributes or {}), **decided.attributes}, decided.trace_state)

    def get_description(self) -> str:
        """See `Sampler`."""
        return str(self._inner.get_description())


class OurTracer:
    """A tracer of the provider's, for our spans alone.

    Of a provider that is not OpenTelemetry's SDK the ids cannot be planned: spans then have others.
    """

    __slots__ = ("_ids", "_sampler", "_tracer")

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        sampler = getattr(tracer, "sampler", None)
        if sampler is not None and not isinstance(sampler, _PlannedDecision):
            sampler = _PlannedDecision(sampler)
            # As with the ids below.
            tracer.sampler = sampler  # type: ignore[attr-defined]  # the SDK's tracer has it
        self._sampler: _PlannedDecision | None = sampler
        inner = getattr(tracer, "id_generator", None)
        if inner is not None and not isinstance(inner, _PlannedIds):
            inner = _PlannedIds(inner)
            # On our own tracer, which nobody else uses: other spans of the process have the ids that they would have.
            tracer.id_generator = inner  # type: ignore[attr-defined]  # the SDK's tracer has it
        self._ids: _PlannedIds | None = inner

    def start(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link] = (),
        *,
        start_ns: int | None = None,
        trace_id: int | None = None,
        span_id: int | None = None,
        decided: Any = None,
    ) -> Span:
        """Start a span. trace_id: where the context has no parent. span_id: by default a new one. decided: as of
        `sampled`.

        One that cannot be started is one that records nothing: whoever only watches must not end what is watched.
        """
        planned = self._ids if trace_id is not None or span_id is not None else None
        if planned is not None:
            planned.plan(trace_id, span_id)
        if self._sampler is not None and decided is not None:
            self._sampler.plan(decided)
        try:
            return self._tracer.start_span(name, context, kind, attributes, links, start_ns)
        # Of samplers and processors, which are the user's.
        except Exception:  # noqa: BLE001
            _log.exception("tracing.failed: the span %r is left out", name)
            return INVALID_SPAN
        finally:
            if planned is not None:
                planned.plan(None, None)
            if self._sampler is not None:
                self._sampler.plan(None)

    def sampled(self, name: str, trace_id: int, attributes: Attributes) -> tuple[bool, Any]:
        """Whether a trace of that id, without any parent, is recorded, so that every process decides alike; and what
        was decided, for `start`.
        """
        if self._sampler is None:
            return True, None
        try:
            found = self._sampler.should_sample(Context(), trace_id, name, SpanKind.INTERNAL, attributes, ())
        # Nobody handles it further, as above: of samplers, which are the user's.
        except Exception:  # noqa: BLE001
            _log.exception("tracing.failed: the trace of a run is left out")
            return False, None
        return bool(found.decision.is_sampled()), found


def end(span: Span, ended_ns: int | None = None) -> None:
    """End a span, whatever those who are told of it make of that."""
    try:
        span.end(ended_ns)
    # Of processors and exporters, as above.
    except Exception:  # noqa: BLE001
        _log.exception("tracing.failed: a span is lost")


_known: tuple[object, OurTracer | None] = (None, None)


def tracer_here() -> OurTracer | None:
    """Our tracer of the provider that is set; None where it records nothing."""
    global _known  # noqa: PLW0603  # one a process, as the provider is
    provider = trace.get_tracer_provider()
    if _known[0] is not provider:
        tracer = provider.get_tracer(SCOPE, _version(), SCHEMA_URL)
        _known = (provider, None if isinstance(tracer, NoOpTracer) else OurTracer(tracer))
    return _known[1]


def _version() -> str:
    try:
        return version("coterie")
    except PackageNotFoundError:
        return "0"
