"""A process with a run in a journal, whose spans go to a file as they end; it may hang in its second task.

python -m tests.journal.tracing JOURNAL FILE hang|go outer|alone
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from coterie import Journal, Orchestrator, Plan, Task, TaskContext, Team
from coterie.stores.opening import open_journal_store
from coterie.telemetry import names


class ToFile(SpanExporter):
    """One line a span."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self.path.open("a") as file:
            for span in spans:
                row = {
                    "name": span.name,
                    "trace": f"{span.context.trace_id:032x}",
                    "span": f"{span.context.span_id:016x}",
                    "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
                    "replayed": span.attributes.get(names.REPLAYED),
                }
                file.write(json.dumps(row) + "\n")
        return SpanExportResult.SUCCESS


async def main(url: str, path: str, manner: str, around: str) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ToFile(Path(path))))
    trace.set_tracer_provider(provider)
    team = Team("t")

    @team.agent("x")
    async def work(task_input: dict[str, Any], ctx: TaskContext) -> None:
        if manner == "hang" and ctx.task_id == "b":
            sys.stdout.write("hanging\n")
            sys.stdout.flush()
            await asyncio.Event().wait()

    journal = Journal(open_journal_store(url, "default"))
    outer = provider.get_tracer("test").start_as_current_span("outer") if around == "outer" else nullcontext()
    with outer:
        plan = Plan("p", [Task("a", "x"), Task("b", "x", depends_on=["a"])])
        await Orchestrator(team, journal=journal).execute_workflow(plan, workflow_id="r")
    await journal.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
