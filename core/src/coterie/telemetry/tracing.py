"""The spans of a run: one trace, whoever takes part; live around agents, the rest made from what was noted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanKind, set_span_in_context

from coterie._rules.lap import Fact, Lap
from coterie.ids import item_name
from coterie.telemetry import names
from coterie.telemetry.failing import note_error
from coterie.telemetry.identity import (
    Parent,
    parsed_parent,
    root_span_id,
    run_trace_id,
    traceparent_text,
    work_span_id,
)
from coterie.telemetry.lap_spans import lap_spans
from coterie.telemetry.spans import NO_PARENT, context_of, current_parent, live, within
from coterie.telemetry.tracer import Attributes, OurTracer, end, tracer_here
from coterie.trail import SHORTEST_US
from coterie.usage import Usage

if TYPE_CHECKING:
    from coterie._json import JsonValue
    from coterie._rules.journal_text import Record
    from coterie.agent import Agent
    from coterie.attempt import Ended
    from coterie.context import TaskContext
    from coterie.plan import Plan
    from coterie.result import TaskResult, WorkflowResult
    from coterie.run import Run
    from coterie.task import Task

    E = TypeVar("E", bound=Ended | TaskResult | None)

__all__ = ["RunTrace"]


class RunTrace:
    """The spans of one run that this process makes.

    before: the span that the run was begun in, if any. above: the span under which the work here lies; by default that
    of the run itself, which others may make; if its id is 0, none. linked: one that only has to do with it.
    decided: by the sampler, of the run.
    """

    __slots__ = (
        "_above", "_again", "_before", "_decided", "_linked", "_namespace", "_now", "_root", "_run", "_tracer",
        "trace_id",
    )  # fmt: skip

    def __init__(
        self,
        tracer: OurTracer,
        run: Run,
        trace_id: int,
        *,
        before: Parent | None = None,
        above: Parent | None = None,
        linked: Parent | None = None,
        decided: Any = None,
    ) -> None:
        self.trace_id = trace_id
        self._tracer = tracer
        self._run, self._namespace = run.workflow_id, run.namespace
        self._root = root_span_id(run.namespace, run.workflow_id)
        self._before = before
        self._again = run.was_concluded
        self._above = within(above or Parent(trace_id, self._root, sampled=True))
        self._linked = linked
        self._decided = decided
        self._now = run.now

    @classmethod
    def opened(cls, run: Run, *, alone: bool, called_by: str | None, is_awaited: bool) -> RunTrace | None:
        """The trace of a run; None where it is not to be recorded. See `coterie.telemetry.recording.open_trace`."""
        tracer = tracer_here()
        if tracer is None:
            return None
        caller, here = parsed_parent(called_by), current_parent()
        fixed = parsed_parent(run.traceparent) or (here if alone and here is not None and here.sampled else None)
        trace_id = fixed.trace_id if fixed is not None else run_trace_id(run.namespace, run.workflow_id)
        if caller is not None and is_awaited:
            return cls(tracer, run, caller.trace_id, above=caller) if caller.sampled else None
        decided = None
        if fixed is None:
            is_sampled, decided = tracer.sampled("invoke_workflow", trace_id, {names.RUN_ID: run.workflow_id})
            if not is_sampled:
                return None
        return cls(tracer, run, trace_id, before=fixed, linked=caller, decided=decided)

    @contextmanager
    def run(self, plan: Plan) -> Iterator[Callable[[str], None]]:
        """The span of the run itself, around it; called with the run's status once that is known."""
        with live(self._root_span(plan.name, None)) as span:
            yield lambda status: _end_run(span, status)

    def concluded(self, result: WorkflowResult) -> None:
        """The span of a run whose tasks were performed elsewhere."""
        # Of a run in which nothing ran, nobody knows when that was; 0 is the year 1970.
        started_at = result.started_at or self._now()
        span = self._root_span(result.plan_name, started_at)
        _end_run(span, result.status)
        end(span, _ns(started_at + result.duration_s))

    def over(self, name: str, status: str, *, begun_at: float, ended_at: float) -> None:
        """The span of a run that is over, wherever in it, or outside, that was seen. Instants as seconds since 1970."""
        span = self._root_span(name, begun_at, apart=True)
        _end_run(span, status)
        end(span, _ns(ended_at))

    @contextmanager
    def around(self) -> Iterator[None]:
        """Where the current span is of this trace, have what is done in the block lie under the run's own span.

        That is made when the run is over.
        """
        here = current_parent()
        if here is None or not here.sampled or here.trace_id != self.trace_id:
            yield
            return
        own = context_of(Parent(self.trace_id, self._root, sampled=True))
        token = attach(set_span_in_context(NonRecordingSpan(own)))
        try:
            yield
        finally:
            detach(token)

    async def work(
        self, context: TaskContext, perform: Callable[[], Awaitable[E]], *, queued_us: int | None = None
    ) -> E:
        """Perform a unit of work within its span, which ends with what it went through.

        queued_us: since when it waited for a slot of this process, if it did.
        """
        span, ended = self._work_span(context, queued_us), None
        # As `live`, without what a context manager costs.
        token = attach(set_span_in_context(span))
        try:
            if queued_us is not None:
                self._note_queue(span, context.task, queued_us)
            ended = await perform()
            return ended
        except BaseException as error:
            note_error(span, error)
            raise
        finally:
            self._end_work(span, context, ended)
            detach(token)
            end(span)

    def _note_queue(self, span: Span, task: Task, since_us: int) -> None:
        took_us = int(self._now() * 1e6) - since_us
        if took_us >= SHORTEST_US:
            facts: Mapping[str, Fact] = {"place": "local", "priority": task.priority}
            lap_spans(self._tracer, span, task, [Lap("queue", since_us, took_us, facts)])

    def replayed(self, context: TaskContext, record: Record) -> None:
        """The span of work that was finished before: of no length."""
        attributes: Attributes = {names.REPLAYED: True, names.STATE: str(record.result["state"])}
        end(self._start(f"execute_task {context.task.id}", {**self._about(context), **attributes}))

    async def call(
        self, call: Callable[[Any, Any], Awaitable[Any]], agent: Agent, task_input: JsonValue, context: TaskContext
    ) -> Any:
        """Call an agent within its span."""
        attributes: Attributes = {
            names.OPERATION: "invoke_agent",
            names.AGENT_NAME: agent.id,
            names.AGENT_VERSION: agent.version,
            names.AGENT_TYPE: agent.type,
            names.ATTEMPT: context.attempt,
        }
        before = context.usage if context.usage_reported else None
        span = self._start(f"invoke_agent {agent.id}", attributes)
        # As `live`, without what a context manager costs.
        token = attach(set_span_in_context(span))
        try:
            return await call(task_input, context)
        except BaseException as error:
            note_error(span, error)
            raise
        finally:
            if context.usage_reported:
                _note_usage(span, context, before or Usage())
            detach(token)
            end(span)

    @contextmanager
    def calling(self, agent: Agent) -> Iterator[Callable[[str | None], None]]:
        """The span of a call of a worker, around it; called with the worker's name once that is known."""
        attributes: Attributes = {names.OPERATION: "invoke_agent", names.AGENT_NAME: agent.type}
        with live(self._start(f"invoke_agent {agent.type}", attributes, SpanKind.CLIENT)) as span:
            yield lambda worker: span.set_attribute(names.WORKER, worker or "")

    @staticmethod
    def traceparent() -> str | None:
        """Of the current span."""
        here = current_parent()
        return traceparent_text(here) if here is not None else None

    def _about(self, context: TaskContext) -> Attributes:
        task = context.task
        about: Attributes = {names.RUN_ID: self._run, names.TASK_ID: task.id, names.AGENT_TYPE: task.agent_type}
        if context.item_key is not None:
            about[names.ITEM] = item_name(context.item_key, context.item_index or 0)
        return about

    def _root_span(self, plan_name: str, started_at: float | None, *, apart: bool = False) -> Span:
        """apart: whether it lies where the run was begun, even if the current span is another of this trace."""
        attributes: Attributes = {
            names.OPERATION: "invoke_workflow",
            names.WORKFLOW_NAME: plan_name,
            names.RUN_ID: self._run,
            names.NAMESPACE: self._namespace,
        }
        here, links = trace.get_current_span().get_span_context(), []
        if here.is_valid and here.trace_id != self.trace_id:
            links = [Link(here)]
        if self._again:
            # Its own span was made when it ended before, and no two may have one id.
            above = within(Parent(self.trace_id, self._root, sampled=True))
        elif here.trace_id == self.trace_id and not apart:
            above = get_current()
        else:
            above = within(self._before) if self._before is not None else NO_PARENT
        return self._tracer.start(
            f"invoke_workflow {plan_name}",
            above,
            SpanKind.INTERNAL,
            attributes,
            links,
            start_ns=None if started_at is None else _ns(started_at),
            trace_id=self.trace_id,
            span_id=None if self._again else self._root,
            decided=self._decided if above is NO_PARENT else None,
        )

    def _work_span(self, context: TaskContext, queued_us: int | None) -> Span:
        unit, links, span_id = context.unit, [], None
        attributes = self._about(context)
        if unit is not None:
            span_id = self._work_id(unit.name, unit.mark) if unit.mark else None
            if unit.why != "first":
                attributes[names.WHY] = unit.why
            if unit.mark_before:
                lost = self._work_id(unit.name, unit.mark_before)
                links = [Link(context_of(Parent(self.trace_id, lost, sampled=True)), {names.WHY: unit.why})]
        asked_us = queued_us if context.asked_us is None else context.asked_us
        return self._start(
            f"execute_task {context.task.id}",
            attributes,
            links=links,
            start_ns=None if asked_us is None else asked_us * 1000,
            span_id=span_id,
        )

    def _work_id(self, name: str, mark: str) -> int:
        return work_span_id(self._namespace, self._run, name, mark)

    def _end_work(self, span: Span, context: TaskContext, ended: Ended | TaskResult | None) -> None:
        if not span.is_recording():
            return
        if ended is not None:
            span.set_attributes({names.STATE: ended.state, names.ATTEMPTS: ended.attempts})
            if ended.error is not None:
                note_error(span, ended.error)
        if context.unit is not None:
            span.set_attribute(names.IDEMPOTENCY_KEY, context.idempotency_key)
        if context.usage_reported:
            _note_usage(span, context, Usage())
        trail = context.noted
        if trail is not None and trail.laps:
            # A worker has made spans of what its work went through, where that is known.
            laps = [lap for number, lap in enumerate(trail.laps) if number not in trail.traced]
            lap_spans(self._tracer, span, context.task, laps)
            trail.traced = frozenset(range(len(trail.laps)))

    def _start(
        self,
        name: str,
        attributes: Attributes,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        links: Sequence[Link] = (),
        start_ns: int | None = None,
        span_id: int | None = None,
    ) -> Span:
        """Under the current span, if it is of this trace; else under the run's own, with a link to the current one."""
        above = get_current()
        here = trace.get_current_span(above).get_span_context()
        if here.trace_id != self.trace_id:
            above = self._above
            linked = [Link(here)] if here.is_valid else []
            if self._linked is not None:
                linked.append(Link(context_of(self._linked)))
            links = [*links, *linked]
        return self._tracer.start(name, above, kind, attributes, links, start_ns=start_ns, span_id=span_id)


def _end_run(span: Span, status: str) -> None:
    span.set_attribute(names.STATUS, status)
    if status in ("failed", "partial"):
        span.set_status(trace.StatusCode.ERROR, status)


def _note_usage(span: Span, context: TaskContext, before: Usage) -> None:
    used = context.usage
    counts = {
        names.INPUT_TOKENS: used.input_tokens - before.input_tokens,
        names.OUTPUT_TOKENS: used.output_tokens - before.output_tokens,
        names.COST: used.cost_micros - before.cost_micros,
    }
    span.set_attributes({name: count for name, count in counts.items() if count})


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
