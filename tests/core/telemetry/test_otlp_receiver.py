"""The receiver of tests reads what OpenTelemetry's own exporter sends, and refuses what is no such thing."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, StatusCode

from tests.support.otlp import Trace, receiver


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_it_reads_all_of_a_span(compression: Compression):
    with receiver() as received:
        exporter = OTLPSpanExporter(f"{received.endpoint}/v1/traces", compression=compression)
        provider = TracerProvider(resource=Resource({"service.name": "desk"}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("lib")
        with tracer.start_as_current_span("outer") as outer:
            link = Link(outer.get_span_context(), {"coterie.why": "first"})
            with tracer.start_as_current_span("inner", kind=SpanKind.CLIENT, links=[link]) as inner:
                inner.set_attributes({"coterie.n": 1, "coterie.f": 0.5, "coterie.b": True, "coterie.t": ["x", "y"]})
                inner.record_exception(ValueError("no"))
                inner.set_status(StatusCode.ERROR, "out of paper")
        provider.shutdown()

    trace = Trace(tuple(received.spans))
    span, around = trace.one("inner", n=1, f=0.5, b=True, t=("x", "y")), trace.one("outer")
    assert (span.kind, span.status, span.message) == ("client", "error", "out of paper")
    assert (span.service, span.scope) == ("desk", "lib")
    assert [event.attributes["exception.message"] for event in span.events] == ["no"]
    assert [(link.span_id, link.attributes) for link in span.links] == [(around.span_id, {"coterie.why": "first"})]
    assert (trace.parent(span), trace.under(around), trace.orphans()) == (around, [span], [])
    assert around.began_ns <= span.began_ns <= span.ended_ns <= around.ended_ns


def test_a_span_whose_parent_was_not_sent_is_an_orphan():
    with receiver() as received:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{received.endpoint}/v1/traces")))
        tracer = provider.get_tracer("lib")
        with tracer.start_as_current_span("outer"):
            tracer.start_span("inner").end()
            (inner,) = received.spans
        provider.shutdown()

    assert Trace((inner,)).orphans() == [inner]


@pytest.mark.parametrize(("path", "body", "status"), [("/v1/logs", b"", 404), ("/v1/traces", b"\xff\xff", 400)])
def test_it_refuses_what_is_no_spans(path: str, body: bytes, status: int):
    with receiver() as received, pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(received.endpoint + path, body, timeout=10)

    assert refused.value.code == status
    refused.value.close()
