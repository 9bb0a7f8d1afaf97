"""The tree of a run: what happened in it, when, within what; built from its journal alone.

Instants are as they were written: by the clock of whichever process ended a piece of work, and by the store's clock
what the store decided (claims, questions, visits). Where two clocks differ, a task may begin before what it waited for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from coterie.artifacts import ArtifactStore
from coterie.ids import TaskId, WorkflowId
from coterie.journal.journal import Journal
from coterie.plan import Plan
from coterie.telemetry.identity import parsed_parent, run_trace_id
from coterie.timeline.critical import Critical, critical_path
from coterie.timeline.growth import grown
from coterie.timeline.idle import Stretch, idle_stretches
from coterie.timeline.source import read_source
from coterie.timeline.span import Span, Time, in_order
from coterie.timeline.standing import Ahead
from coterie.timeline.units import ANEW

__all__ = ["Counts", "Timeline", "timeline_of"]

_WORKS = ("task", "item", "undo")
# Each takes a read of the store.
_MOST_LOOKED_AT = 50


class Counts(NamedTuple):
    """total: None where the plan is not at hand. open: that somebody may be at."""

    total: int | None
    ended: int
    failed: int
    open: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """One run, at an instant.

    spans: parents before their children, siblings by when they began; the first is the run. begun_by: the run of an
    engine. now_us: as of `Source`, microseconds since the epoch. trace_id: of the run's trace, where one is recorded.
    ahead: tasks of the plan that nothing is known of. notes: sentences on what could not be told. idle: when nobody was
    at it. held: by the ids of spans that go on, what was found to hold them, where anybody has looked beyond the
    journal. scheduler: goes on with the run, as far as anybody does; None: a process has or had all of it.
    """

    run: WorkflowId
    state: str
    now_us: int
    spans: tuple[Span, ...]
    plan: Plan | None = None
    plan_hash: str | None = None
    plan_name: str | None = None
    begun_by: str = ""
    trace_id: str = ""
    ahead: tuple[Ahead, ...] = ()
    notes: tuple[str, ...] = ()
    idle: tuple[Stretch, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    scheduler: str | None = None

    @property
    def root(self) -> Span:
        """The run."""
        return self.spans[0]

    @property
    def is_over(self) -> bool:
        """Whether the run ended."""
        return self.root.ended_us is not None

    @property
    def rest(self) -> Time:
        """What the run's own end waits for, once all that is known of has ended."""
        if self.is_over:
            return "closing"
        return "open" if self.state == "running" else "nobody"

    @property
    def going_on(self) -> tuple[Span, ...]:
        """Tasks, items and compensations that somebody is to do, or is asked; the longest first."""
        open_ones = [span for span in self.spans if span.ended_us is None and span.parent is not None]
        around = {span.parent for span in open_ones}
        leaves = [
            span for span in open_ones if span.kind != "person" and (span.id not in around or span.time == "person")
        ]
        return tuple(sorted(leaves, key=lambda span: span.begun_us))

    @property
    def unended(self) -> tuple[Span, ...]:
        """Of these, the ones that wait or are worked at, nobody knows which."""
        return tuple(span for span in self.going_on if span.kind in _WORKS and span.state in ("running", "due"))

    @property
    def counts(self) -> Counts:
        """How many tasks the run has, and how they stand."""
        tasks = [span for span in self.spans if span.kind == "task"]
        total = None if self.plan is None else len(self.plan.tasks)
        ended = sum(span.ended_us is not None and span.state not in ("interrupted", "refused") for span in tasks)
        failed = sum(span.state == "failed" for span in tasks)
        return Counts(total, ended, failed, sum(span.ended_us is None for span in tasks))

    def critical_path(self) -> Critical:
        """What its end waited for, or has waited for so far."""
        return critical_path(self.spans, self.now_us, rest=self.rest, idle=self.idle)

    @property
    def length_us(self) -> int:
        """From its beginning to its end; of a run that goes on, to now."""
        return self.root.until_us(self.now_us) - self.root.begun_us


async def timeline_of(
    journal: Journal,
    run: WorkflowId,
    *,
    artifacts: ArtifactStore | None = None,
    handed_out: Collection[TaskId] = (),
) -> Timeline:
    """The timeline of a run, as its journal tells it now; nothing is written.

    artifacts: where its outputs are kept: there the plan of a large run lies, and the lists of its foreaches.
    handed_out: tasks of it that lie with workers, as the fleet's queues tell: the journal does not until one begins.

    Raises:
        UnknownRun: the journal does not know it. StateFormatError: what it has cannot be read.
        Unavailable: the journal's store failed.
    """
    source = replace(await read_source(journal, run, artifacts), handed_out=frozenset(handed_out))
    spans, ahead = grown(source)
    spans = await _with_steps(journal, run, spans)
    ordered = in_order(spans)
    header = source.view.header
    traced = parsed_parent(header.traceparent)
    trace_id = run_trace_id(journal.store.namespace, run) if traced is None else traced.trace_id
    return Timeline(
        run,
        source.state,
        source.now_us,
        tuple(ordered),
        source.plan,
        header.plan_hash,
        header.plan_name,
        header.engine_run,
        f"{trace_id:032x}",
        ahead,
        source.notes + _cut_off(spans),
        idle_stretches(source, ordered),
        scheduler=header.scheduler if source.view.claim is None else None,
    )


async def _with_steps(journal: Journal, run: WorkflowId, spans: Sequence[Span]) -> list[Span]:
    """The same; of work that goes on, how many durable steps are kept: so far it has come."""
    found = list(spans)
    goes_on = [place for place, span in enumerate(spans) if span.ended_us is None and span.kind in _WORKS]
    for place in goes_on[:_MOST_LOOKED_AT]:
        span = spans[place]
        steps = await journal.store.read(run, span.id.removesuffix(ANEW).partition("/")[2])
        if steps:
            found[place] = replace(span, facts={**span.facts, "steps": len(steps)})
    return found


def _cut_off(spans: Iterable[Span]) -> tuple[str, ...]:
    cut: Mapping[str, object] = {span.name: span.facts["more"] for span in spans if "more" in span.facts}
    if not cut:
        return ()
    named = ", ".join(f"{name} ({more} more)" for name, more in list(cut.items())[:5])
    return (f"of {len(cut):,} units of work only the first laps are kept: {named}",)
