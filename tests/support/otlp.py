"""A receiver of spans and counts: OTLP over HTTP on a free port, decoded into what a test can look at."""

from __future__ import annotations

import gzip
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
from opentelemetry.proto.trace.v1.trace_pb2 import Status

__all__ = ["Event", "Link", "Received", "Receiver", "Trace", "receiver", "spans_of", "sums_of"]

Value = str | bool | int | float | tuple["Value", ...]

TRACES, METRICS = "/v1/traces", "/v1/metrics"
_CONTENT = "application/x-protobuf"
_STATUS = {Status.STATUS_CODE_UNSET: "unset", Status.STATUS_CODE_OK: "ok", Status.STATUS_CODE_ERROR: "error"}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a span says happened."""

    name: str
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Link:
    """Another span that a span has to do with."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Received:
    """One span as it was sent. Ids are hexadecimal; parent_id: empty where it has none.

    scope: of the library that made it. resource: what the process says of itself.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    status: str
    message: str
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, Value]
    events: tuple[Event, ...]
    links: tuple[Link, ...]
    scope: str
    resource: Mapping[str, Value]

    @property
    def service(self) -> str:
        """Who sent it: `service.name`."""
        return str(self.resource.get("service.name", ""))

    def linked(self) -> set[str]:
        """The spans that it links to."""
        return {link.span_id for link in self.links}


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of one trace, in the order of their beginning."""

    spans: tuple[Received, ...]

    def of(self, scope: str) -> tuple[Received, ...]:
        """Those that one library made."""
        return tuple(span for span in self.spans if span.scope == scope)

    def by_id(self, span_id: str) -> Received | None:
        """The span of that id, if it was sent."""
        return next((span for span in self.spans if span.span_id == span_id), None)

    def named(self, name: str, **attributes: Value) -> list[Received]:
        """Those of a name that have these attributes, of coterie's own by their last word."""
        wanted = {f"coterie.{key}": value for key, value in attributes.items()}
        return [span for span in self.spans if span.name == name and wanted.items() <= span.attributes.items()]

    def one(self, name: str, **attributes: Value) -> Received:
        """The only one of them; an `AssertionError` that lists all names, where it is not the only one."""
        found = self.named(name, **attributes)
        assert len(found) == 1, f"{len(found)} spans {name!r} {attributes} among {[each.name for each in self.spans]}"
        return found[0]

    def under(self, span: Received) -> list[Received]:
        """Its children."""
        return [each for each in self.spans if each.parent_id == span.span_id]

    def parent(self, span: Received) -> Received | None:
        """What it lies in, if that was sent."""
        return self.by_id(span.parent_id)

    def orphans(self) -> list[Received]:
        """Those that name a parent which nobody has sent."""
        known = {span.span_id for span in self.spans}
        return [span for span in self.spans if span.parent_id and span.parent_id not in known]


@dataclass(slots=True)
class Receiver:
    """What has come so far; `endpoint` is what `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.

    counts: of sums that are sent as what was added, their totals over all processes, by name and labels.
    """

    endpoint: str
    onward: Callable[[bytes], None] | None = None
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    _spans: list[Received] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, body: bytes) -> None:
        """Keep what a request brought."""
        found = list(spans_of(body))
        with self._lock:
            self._spans.extend(found)
        if self.onward is not None:
            self.onward(body)

    def count(self, body: bytes) -> None:
        """Add what a request brought."""
        found = list(sums_of(body))
        with self._lock:
            for labels, amount in found:
                self.counts[labels] += amount

    @property
    def spans(self) -> list[Received]:
        """All of it."""
        with self._lock:
            return list(self._spans)

    def trace(self, trace_id: str) -> Trace:
        """The spans of a trace."""
        found = (span for span in self.spans if span.trace_id == trace_id)
        return Trace(tuple(sorted(found, key=lambda span: span.began_ns)))


@contextmanager
def receiver(onward: Callable[[bytes], None] | None = None) -> Iterator[Receiver]:
    """Receive spans on a free port of 127.0.0.1 within the block. onward: told the body of every request too."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_address[1]}", onward)
    server.receiver = found  # type: ignore[attr-defined]  # for its handlers
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Takes spans, and nothing else."""

    def do_POST(self) -> None:  # the library's name
        """Decode a request, or say what is wrong with it."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path not in (TRACES, METRICS):
            self._answer(404, b"")
            return
        found: Receiver = self.server.receiver  # type: ignore[attr-defined]  # set by `receiver`
        try:
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            (found.take if self.path == TRACES else found.count)(body)
        # Whatever cannot be read is the sender's mistake; the test sees that its spans are missing.
        except Exception as error:  # noqa: BLE001
            self._answer(400, repr(error).encode())
            return
        self._answer(200, ExportTraceServiceResponse().SerializeToString())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _CONTENT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Nothing: a test's own output is enough."""


def spans_of(body: bytes) -> Iterator[Received]:
    """The spans of one request, not compressed.

    Raises:
        DecodeError: it is none.
    """
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = _attributes(resource.resource.attributes)
        for group in resource.scope_spans:
            for span in group.spans:
                yield _received(span, group.scope.name, about)


def sums_of(body: bytes) -> Iterator[tuple[tuple[str, ...], float]]:
    """The sums of one request of metrics, by name and labels; those of what was added since the last alone.

    Raises:
        DecodeError: it is none.
    """
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for group in resource.scope_metrics:
            for metric in group.metrics:
                if metric.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA:
                    for point in metric.sum.data_points:
                        labels = (metric.name, *(str(value) for value in _attributes(point.attributes).values()))
                        yield labels, point.as_int or point.as_double


def _received(span: Message, scope: str, resource: Mapping[str, Value]) -> Received:
    return Received(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=Message.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        status=_STATUS[span.status.code],
        message=span.status.message,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=tuple(Event(event.name, _attributes(event.attributes)) for event in span.events),
        links=tuple(Link(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links),
        scope=scope,
        resource=resource,
    )


def _attributes(found: Iterable[KeyValue]) -> dict[str, Value]:
    return {each.key: _value(each.value) for each in found}


def _value(found: AnyValue) -> Value:
    kind = found.WhichOneof("value")
    if kind == "array_value":
        values: Sequence[AnyValue] = found.array_value.values
        return tuple(_value(each) for each in values)
    value: str | bool | int | float = getattr(found, kind) if kind is not None else ""
    return value
