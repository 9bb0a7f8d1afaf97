"""What a timeline is made of: everything that the journal, and the plan in it, tell of one run at one instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from coterie._rules.approval import Sheet
from coterie._rules.machine_record import Head, Visit
from coterie._rules.machine_texts import HEAD, visit_path
from coterie._rules.timeline import SECOND
from coterie._rules.written import RunEntry
from coterie.artifacts import ArtifactStore
from coterie.errors import CoterieError, UnknownRun
from coterie.ids import TaskId, WorkflowId
from coterie.journal.approval import questions_in
from coterie.journal.journal import Journal
from coterie.journal.listing import ListedItem, listed_items, plan_of
from coterie.journal.view import RunView, UnitView, view_of
from coterie.plan import Plan

__all__ = ["Source", "read_source"]

_VISIT = visit_path(0).removesuffix("0")


@dataclass(frozen=True, slots=True)
class Source:
    """now_us: the store's clock when it was read, or later where a record is of later. plan: None where it is not
    at hand. items: by their units' names.

    visits: of a machine, by number; the current one as its head tells it. notes: what could not be found out.
    handed_out: tasks that are known to lie with workers, though nobody has claimed them in the journal.
    """

    view: RunView
    now_us: int
    plan: Plan | None = None
    items: Mapping[str, ListedItem] = field(default_factory=dict)
    sheets: Mapping[TaskId, Sheet] = field(default_factory=dict)
    head: Head | None = None
    visits: tuple[Visit, ...] = ()
    notes: tuple[str, ...] = ()
    handed_out: frozenset[TaskId] = frozenset()

    @property
    def state(self) -> str:
        """How the run stands: what a scheduler has handed to workers, it holds nothing of, and somebody is to do it."""
        return "running" if self.handed_out and self.view.state == "interrupted" else self.view.state

    @property
    def is_at_work(self) -> bool:
        """Whether a process has the run as a whole: nobody else can tell which of its tasks it is at."""
        return self.view.claim is not None and self.view.claim.alive

    @property
    def ended_at(self) -> float | None:
        """When it ended, in seconds since the epoch; None: it has not.

        Of single tasks without a plan, when the last of them did: only their scheduler knows whether more are to come.
        """
        view = self.view
        if view.state == "open":
            return max(
                (unit.ended_at for unit in view.units if unit.ended_at is not None), default=view.header.begun_at
            )
        return None if view.state in ("running", "waiting", "interrupted") else view.ended_at

    @property
    def is_over(self) -> bool:
        """Whether it ended."""
        return self.ended_at is not None

    def units(self) -> dict[TaskId, list[UnitView]]:
        """The units of work by their task; also of tasks of which nothing is known but what they ask."""
        found: dict[TaskId, list[UnitView]] = {}
        for unit in self.view.units:
            found.setdefault(unit.task_id, []).append(unit)
        for task_id in self.sheets:
            found.setdefault(task_id, [UnitView(task_id, None)])
        return found


async def read_source(journal: Journal, run: WorkflowId, artifacts: ArtifactStore | None) -> Source:
    """Read a run.

    artifacts: where its plan and its lists are looked up; without it, what lies there stays unknown.

    Raises:
        UnknownRun: the journal does not know it. StateFormatError: what it has cannot be read.
        Unavailable: the journal's store failed.
    """
    texts = await journal.store.read(run)
    if not texts:
        raise UnknownRun(run, journal.store.url)
    _, now_us = await journal.store.get(run, ())
    view = view_of(RunEntry(run, 0, 0), texts, now_us)
    now_us = max([now_us, *_instants(view)])
    plan, items, notes = await _planned(view, artifacts, is_machine=HEAD in texts)
    head = Head.read(texts[HEAD], HEAD) if HEAD in texts else None
    return Source(view, now_us, plan, items, questions_in(texts), head, _visits(texts, head), notes)


def _instants(view: RunView) -> Iterator[int]:
    """When work had ended, by the clocks of those who did it: these may be ahead, and are rounded."""
    for unit in view.units:
        if unit.told is not None:
            yield round(unit.told.at * SECOND)
            yield from (lap.at_us + lap.took_us for lap in unit.told.laps)


async def _planned(
    view: RunView, artifacts: ArtifactStore | None, *, is_machine: bool
) -> tuple[Plan | None, Mapping[str, ListedItem], tuple[str, ...]]:
    """The plan, what its foreaches run over, and what could not be found out of these. A machine has none."""
    if is_machine:
        return None, {}, ()
    try:
        plan = await plan_of(view.header, artifacts)
    except CoterieError as error:
        return None, {}, (f"the plan could not be read, so what waits for what is not known: {error}",)
    if plan is None:
        why = "it lies in an artifact store: name that with --artifacts" if view.header.document else "there is none"
        return None, {}, (f"the journal holds no plan ({why}); what waits for what is not known",)
    if all(task.foreach is None for task in plan.tasks):
        return plan, {}, ()
    try:
        return plan, await listed_items(view, plan, artifacts), ()
    except CoterieError as error:
        return plan, {}, (f"what the foreaches run over could not be read: {error}",)


def _visits(texts: Mapping[str, str], head: Head | None) -> tuple[Visit, ...]:
    found = [Visit.read(text, path) for path, text in texts.items() if path.startswith(_VISIT)]
    if head is not None and head.phase != "over" and all(visit.number != head.visit for visit in found):
        found.append(Visit(head.visit, head.state, head.entered))
    return tuple(sorted(found, key=lambda visit: visit.number))
