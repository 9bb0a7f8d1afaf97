"""How the spans of a run grow from what its journal holds: the run, its tasks by the plan, and all else in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from coterie.ids import TaskId, TaskState
from coterie.journal.view import UnitView
from coterie.timeline.foreach import foreach_spans, foreach_state
from coterie.timeline.source import Source
from coterie.timeline.span import ROOT, Fact, Span, task_span_id
from coterie.timeline.standing import Ahead, Standing, standing_of
from coterie.timeline.units import Place, hull, micros, unit_spans
from coterie.timeline.visits import actions_of, visit_id, visit_spans

__all__ = ["grown"]


def grown(source: Source) -> tuple[list[Span], tuple[Ahead, ...]]:
    """All spans, the run first, and the tasks of the plan that nothing is known of."""
    growth = _Growth(source)
    growth.grow_planned()
    growth.grow_others()
    spans = [*visit_spans(source, growth.spans), *growth.spans]
    if source.is_over:
        # Such as a question that can still be answered: the run goes on then.
        spans = [_closed(span, micros(source.ended_at or 0.0)) for span in spans]
    return [_run_span(source, spans, growth.begun_us), *spans], growth.ahead


class _Growth:
    """spans: what has grown so far. begun_us: when the run began. ahead: what nothing is known of."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._units = source.units()
        self._listed = Counter(item.task_id for item in source.items.values())
        self._states = {task_id: self._state(units) for task_id, units in self._units.items()}
        self.spans: list[Span] = []
        self.begun_us = _begun_us(source)
        standing = self._stands()
        # Which tasks the process that has the run is at, only it knows.
        self._due = set(standing.due) & (set(standing.due) if source.is_at_work else source.handed_out)
        self.ahead = (*self._unrecorded(standing), *standing.ahead)

    def grow_planned(self) -> None:
        """The plan's tasks, each after those that it waits for."""
        plan = self._source.plan
        if plan is None:
            return
        graph = plan.graph
        # By position: when it had ended, or what it stands for had, and the spans that say so.
        ends: list[tuple[int, tuple[str, ...]]] = [(self.begun_us, ())] * len(graph.ids)
        for i in graph.order:
            task = plan.tasks[i]
            ready_us = max((ends[j][0] for j in graph.upstream[i]), default=self.begun_us)
            links = tuple(dict.fromkeys(link for j in graph.upstream[i] for link in ends[j][1]))
            units = self._units.pop(task.id, [])
            if not units and task.id in self._due:
                units = [UnitView(task.id, None)]
            if not units:
                ends[i] = ready_us, links
                continue
            place = self._place(task.id, ready_us, agent_type=task.agent_type, links=links)
            own = self._grow(units, place)
            ends[i] = own.until_us(self._source.now_us), (own.id,)

    def grow_others(self) -> None:
        """What is in no plan: compensations, the actions of a machine, a scheduler's tasks without a plan."""
        undone, actions = self._undone(), actions_of(self._source)
        for task_id, units in self._units.items():
            place = self._place(task_id, self.begun_us)
            if task_id in undone:
                of, agent_type = undone[task_id]
                place = replace(place, kind="undo", agent_type=agent_type, links=(task_span_id(of),))
            visit = actions.get(task_id)
            if visit is not None:
                place = replace(place, parent=visit_id(visit), ready_us=visit.entered)
            self._grow(units, place)

    def _grow(self, units: Sequence[UnitView], place: Place) -> Span:
        """Add a task with all that is in it; its own span."""
        task_id = units[0].task_id
        if len(units) == 1 and units[0].name == task_id:
            found = unit_spans(units[0], place, self._source.now_us)
        else:
            state = self._states[task_id]
            found = foreach_spans(self._source, units, place, state=state, listed=self._listed.get(task_id))
        self.spans += found
        return found[0]

    def _place(
        self, task_id: TaskId, ready_us: int, *, agent_type: str | None = None, links: tuple[str, ...] = ()
    ) -> Place:
        sheet = self._source.sheets.get(task_id)
        held = self._source.is_at_work or task_id in self._source.handed_out
        return Place(task_span_id(task_id), ROOT, task_id, "task", ready_us, agent_type, sheet, links, held)

    def _state(self, units: Sequence[UnitView]) -> TaskState | None:
        """How a task ended that anything is known of; None: it has not."""
        task_id = units[0].task_id
        own = next((unit for unit in units if unit.name == task_id), None)
        if own is None:
            return foreach_state(self._source, units, self._listed.get(task_id))
        # A record holds nothing else.
        return own.state  # type: ignore[return-value]

    def _undone(self) -> Mapping[TaskId, tuple[TaskId, str]]:
        """By the names of compensations: the task that each undoes, and who does it."""
        plan = self._source.plan
        if self._source.view.saga is None or plan is None:
            return {}
        return {task.undo_id: (task.id, task.compensation.agent_type) for task in plan.tasks if task.compensation}

    def _stands(self) -> Standing:
        plan = self._source.plan
        if plan is None:
            return Standing((), ())
        ended = {name: state for name, state in self._states.items() if state is not None}
        return standing_of(plan, ended, self._units.keys())

    def _unrecorded(self, standing: Standing) -> list[Ahead]:
        """What could have begun, and nobody is known to be at it."""
        plan = self._source.plan
        left = [name for name in standing.due if name not in self._due]
        return [] if plan is None else [Ahead(name, plan.task(name).agent_type) for name in left]


def _begun_us(source: Source) -> int:
    began = micros(source.view.header.begun_at)
    if began:
        return began
    ends = [micros(unit.ended_at - unit.duration_s) for unit in source.view.units if unit.ended_at is not None]
    return min(ends, default=source.now_us)


def _closed(span: Span, at_us: int) -> Span:
    return span if span.ended_us is not None else replace(span, ended_us=max(span.begun_us, at_us))


def _run_span(source: Source, within: Sequence[Span], begun_us: int) -> Span:
    view = source.view
    ended_us = max(begun_us, micros(source.ended_at)) if source.ended_at is not None else None
    facts: dict[str, Fact] = {"begun_by": view.header.engine_run}
    if view.saga is not None:
        facts |= {"undone": view.saga.outcome or "going on", "not_undone": view.saga.left}
    if view.claim is not None and view.claim.alive:
        facts["owner"] = view.claim.owner
    own = Span(ROOT, None, view.workflow_id, "run", begun_us, ended_us, source.state, "ready", facts)
    return hull(own, [span for span in within if span.parent == ROOT])
