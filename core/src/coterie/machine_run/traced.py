"""The span of a machine's run: made once, by the first who sees that the machine is over, and records spans."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from coterie._rules.machine_record import Head, Visit
from coterie._rules.machine_texts import visit_path
from coterie._rules.timeline import SECOND
from coterie.errors import CoterieError
from coterie.journal.header import read_header
from coterie.machine_run.file import MachineFile
from coterie.run import Run
from coterie.telemetry.recording import is_recording, open_trace

if TYPE_CHECKING:
    from coterie.telemetry.tracing import RunTrace

__all__ = ["trace_end", "within_span"]

_log = logging.getLogger("coterie.machine")


def within_span(file: MachineFile) -> AbstractContextManager[None]:
    """Have what a block does lie under the span of the run, which has begun, where the current span is of its trace."""
    trace = _trace(file, file.traceparent) if file.traceparent is not None else None
    return nullcontext() if trace is None else trace.around()


async def trace_end(file: MachineFile, head: Head) -> None:
    """Make the span of the run, if the machine is over, and nobody has.

    A journal that fails is no failure of the machine, which is over: then whoever sees that next makes it.
    """
    if head.phase != "over" or not is_recording():
        return
    try:
        await _trace_end(file, head)
    except CoterieError as error:
        _log.warning("machine.trace_missed %s: its own span is not made here: %s", file.run, error)


async def _trace_end(file: MachineFile, head: Head) -> None:
    journal, first, last = file.journal, visit_path(1), visit_path(head.visit)
    before = journal.clock.now()
    texts, now_us = await journal.store.get(file.run, tuple(dict.fromkeys(("run", first, last))))
    after = journal.clock.now()
    # Without it, the run has been deleted meanwhile.
    header = read_header(texts["run"]) if "run" in texts else None
    trace = _trace(file, header.traceparent) if header is not None else None
    if header is None or trace is None or not await file.mark_traced():
        return
    entered, ended = _instants(head, texts.get(first), texts.get(last))
    # All other spans are of processes' clocks, and so is this: what the store's says is how long ago it was.
    trace.over(
        header.plan_name or "",
        str(head.status),
        begun_at=min(header.begun_at, before - (now_us - entered) / SECOND),
        ended_at=after - (now_us - ended) / SECOND,
    )


def _trace(file: MachineFile, traceparent: str | None) -> RunTrace | None:
    return open_trace(Run(file.run, file.journal.store.namespace, traceparent=traceparent))


def _instants(head: Head, first: str | None, last: str | None) -> tuple[int, int]:
    """When the first state was entered, and the last one left or, if it is a final one, entered; on the store's clock.

    first, last: the records of these visits, if there are any.
    """
    entered = Visit.read(first, "the first visit").entered if first is not None else head.entered
    left = Visit.read(last, "the last visit").left if last is not None else None
    return entered, head.entered if left is None else left
