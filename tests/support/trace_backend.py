"""A real trace backend, Phoenix: with a home and ports of its own, asked over its REST API, ended by its pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from deploy.demo.process_group import end_group, free_ports

from tests.support.otlp import Event, Received, Trace

__all__ = ["Backend", "backend"]

START_S = 180.0
STOP_S = 20.0
# It stores what it is sent a moment later.
STORED_S = 60.0
PAGE_SPANS = 1000


@dataclass(frozen=True, slots=True)
class Backend:
    """One that runs; `url` is also what `OTEL_EXPORTER_OTLP_ENDPOINT` is set to."""

    url: str

    def trace(self, trace_id: str) -> Trace:
        """The spans that it has of a trace. It keeps neither links nor kinds, and no words of processes."""
        query: dict[str, str | int] = {"limit": PAGE_SPANS, "trace_id": trace_id}
        spans: list[Received] = []
        while True:
            page = self._get(f"/v1/projects/default/spans?{urlencode(query)}")
            spans.extend(_read(span) for span in page["data"])
            if not page["next_cursor"]:
                found = (span for span in spans if span.trace_id == trace_id)
                return Trace(tuple(sorted(found, key=lambda span: span.began_ns)))
            query["cursor"] = page["next_cursor"]

    def trace_once(self, trace_id: str, holds: Callable[[Trace], bool]) -> Trace:
        """The same, once it is as it should be; as it is, if that does not come."""
        deadline = time.monotonic() + STORED_S
        while not holds(found := self.trace(trace_id)) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)


@contextmanager
def backend(python: Path, home: Path) -> Iterator[Backend]:
    """Run one within the block. python: of the environment that has it. home: an empty folder."""
    web, grpc = free_ports(2)
    settings = {
        "PHOENIX_WORKING_DIR": home,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": web,
        "PHOENIX_GRPC_PORT": grpc,
        # It tells nobody of itself, and fetches nothing.
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
    }
    log = home / "phoenix.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(python.parent / "phoenix"), "serve"],
            env={**os.environ, **{name: str(value) for name, value in settings.items()}},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = Backend(f"http://127.0.0.1:{web}")
        _wait(found, process, log)
        yield found
    finally:
        end_group(process, first=signal.SIGTERM, patience_s=STOP_S)


def _wait(found: Backend, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"{found.url}/healthz", timeout=5):
                return
        except OSError:
            is_to_come = process.poll() is None and time.monotonic() < deadline
            assert is_to_come, f"no Phoenix; its log ends:\n{log.read_text('utf-8', 'replace')[-3000:]}"
            time.sleep(0.5)


def _read(span: dict[str, Any]) -> Received:
    return Received(
        trace_id=span["context"]["trace_id"],
        span_id=span["context"]["span_id"],
        parent_id=span["parent_id"] or "",
        name=span["name"],
        kind="",
        status=span["status_code"].lower(),
        message=span["status_message"],
        began_ns=_ns(span["start_time"]),
        ended_ns=_ns(span["end_time"]),
        attributes=span["attributes"],
        events=tuple(Event(event["name"], event["attributes"]) for event in span["events"]),
        links=(),
        scope="",
        resource={},
    )


def _ns(instant: str) -> int:
    return (datetime.fromisoformat(instant) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
