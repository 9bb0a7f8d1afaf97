"""A link among a flow run's artifacts: to where the run's trace is to be seen, with what it came to in a few words.

Without a template for the link there is none, and nothing is read for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefect.artifacts import acreate_link_artifact
from prefect.logging import get_run_logger

from coterie.errors import CoterieError, PolicyError
from coterie.telemetry.links import TraceUrl, run_trace_id_text, trace_url_of
from coterie.timeline import Span, Timeline, timeline_of
from coterie.timeline.sums import first_failure, spending, time_of_path
from coterie.timeline.words import TIME_WORDS, share
from prefect_coterie.publication import key_of

if TYPE_CHECKING:
    from coterie.ids import WorkflowId
    from coterie.journal import Journal
    from prefect_coterie.state_block import CoterieStore

__all__ = ["show_trace", "told"]

_READ_S = 10.0
_SLOWEST = 3
_KINDS = 3


async def show_trace(
    run: WorkflowId, name: str, *, namespace: str, store: CoterieStore | None, journal: Journal | None
) -> None:
    """Create the link artifact `<plan>-trace` of a run that ended; where a template says how. It never raises.

    name: of the plan or machine. store: whose template goes before that of the environment. journal: what the run came
    to is read there, and whose trace it is; without one, the link is all there is to tell.
    """
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = get_run_logger()
    try:
        url = trace_url_of(store.trace_url if store is not None else None, where="the trace_url of a CoterieStore")
        if url is None:
            return
        timeline = await _timeline(journal, run)
        if timeline is None and journal is not None and url.needs_trace_id:
            # Only the journal knows whose trace it is, and that was told: a link to nowhere helps nobody.
            return
        await _show(url, run, name, namespace=namespace, timeline=timeline)
    except PolicyError as error:
        logger.warning("there is no link to the trace: %s", error)
    # Whatever a display does wrong is its own: the work is done and its result stands.
    except Exception:
        logger.exception("the link to the trace of %s could not be made", run)


def told(timeline: Timeline) -> str:
    """How the run ended, how long it took, what it cost, what the time went to, what failed first, and what took
    longest, as Markdown.
    """
    used, failure = spending(timeline.spans).total, first_failure(timeline.spans, timeline.plan)
    cost = f", for {used.cost_micros / 1e6:.2f}" if used.cost_micros else ""
    lines = [f"Run `{timeline.run}` ended **{timeline.state}** after {_seconds(timeline.length_us)}{cost}."]
    times = time_of_path(timeline.critical_path().pieces)
    if times:
        parts = [f"{TIME_WORDS[kind]} {share(times[kind], timeline.length_us)}" for kind in list(times)[:_KINDS]]
        lines.append(f"Time: {', '.join(parts)}.")
    if failure is not None:
        lines.append(f"First failed: `{failure.task_id}`, `{failure.type}`.")
    slowest = sorted(_tasks(timeline), key=lambda span: _took_us(span, timeline), reverse=True)[:_SLOWEST]
    if slowest:
        named = ", ".join(f"`{span.name}` {_seconds(_took_us(span, timeline))}" for span in slowest)
        lines.append(f"Slowest: {named}.")
    return " ".join(lines)


async def _show(url: TraceUrl, run: WorkflowId, name: str, *, namespace: str, timeline: Timeline | None) -> None:
    trace_id = timeline.trace_id if timeline is not None else run_trace_id_text(namespace, run, None)
    await acreate_link_artifact(
        link=url.link(run, namespace=namespace, trace_id=trace_id),
        link_text=f"Trace of {run}",
        key=key_of(name, "trace"),
        description=told(timeline) if timeline is not None else f"Run `{run}`; no journal tells more.",
    )


async def _timeline(journal: Journal | None, run: WorkflowId) -> Timeline | None:
    if journal is None:
        return None
    try:
        async with asyncio.timeout(_READ_S):
            return await timeline_of(journal, run)
    except (CoterieError, TimeoutError) as error:
        get_run_logger().warning("what the run came to could not be read for its link: %r", error)
        return None


def _tasks(timeline: Timeline) -> Iterable[Span]:
    return (span for span in timeline.spans if span.kind in ("task", "visit"))


def _took_us(span: Span, timeline: Timeline) -> int:
    return span.until_us(timeline.now_us) - span.begun_us


def _seconds(duration_us: int) -> str:
    duration_s = duration_us / 1e6
    return f"{duration_s:.1f} s" if duration_s < 100 else f"{duration_s / 60:.0f} min"
