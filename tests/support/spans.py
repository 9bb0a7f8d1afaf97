"""Spans that a test can look at: OpenTelemetry's SDK with an exporter that keeps them in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from coterie.telemetry import names


class Spans:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str, *, kind: str | None = None) -> ReadableSpan:
        found = [span for span in self.named(name) if kind in (None, span.kind.name)]
        assert len(found) == 1, f"{len(found)} spans {name!r} among {sorted(span.name for span in self.all)}"
        return found[0]

    def parent(self, span: ReadableSpan) -> ReadableSpan | None:
        return next(
            (one for one in self.all if span.parent is not None and one.context.span_id == span.parent.span_id), None
        )

    def under(self, span: ReadableSpan) -> list[str]:
        return [one.name for one in self.all if one.parent is not None and one.parent.span_id == span.context.span_id]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """A process in which somebody records spans; afterwards, nobody does."""
    found = Spans()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", found.provider)
    yield found
    found.provider.shutdown()
    for span in found.all:
        if span.instrumentation_scope.name == names.SCOPE:
            check_names(span)


def check_names(span: ReadableSpan) -> None:
    """What the table does not have, no span may have."""
    first = span.name.split()[0]
    row = next(row for row in names.SPANS if row.name.split()[0] == first and row.kind == span.kind.name.lower())
    facts = names.FACT in row.attributes
    unknown = [
        one for one in span.attributes if one not in row.attributes and not (facts and one.startswith("coterie."))
    ]
    assert unknown == [], f"{span.name!r} has attributes that the table does not have"
