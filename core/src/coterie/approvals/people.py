"""The side of those who are asked: what waits for them, and their answers. It needs no agents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from coterie._json import JsonValue
from coterie._rules.approval import PlaceKind, Sheet, is_over, sheet_path
from coterie._rules.journal import RUN
from coterie._rules.machine_texts import HEAD as MACHINE
from coterie.approval import Approval, Decision
from coterie.approvals.preview import body_of
from coterie.approvals.question import instant
from coterie.errors import AlreadyDecided, AskedElsewhere, Misuse, NotAsked, UnknownRun
from coterie.ids import AgentType, TaskId, WorkflowId, check_name, check_workflow_id
from coterie.journal import Journal
from coterie.journal.approval import ApprovalFile, questions_in
from coterie.journal.bell import Bell
from coterie.journal.place import place_of

__all__ = ["Approvals", "PendingApproval"]

MOST_LISTED = 1000
_PAGE = 200
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """A question of a run, and the decision once there is one.

    role: who is asked. body: what it is about, as Markdown. asked_at, until: seconds since the epoch, on the journal's
    clock. place, where: who asks, and where to find it there. overdue: nobody answered in time; whoever runs the task
    acts on it. expired: that has been done, and nothing was chosen. run_over: the run ended without an answer.
    """

    workflow_id: WorkflowId
    task_id: TaskId
    role: AgentType
    approval: Approval
    asked_at: float
    until: float | None = None
    place: PlaceKind = "process"
    where: str = ""
    by: str = ""
    body: str = field(default="", repr=False)
    overdue: bool = False
    expired: bool = False
    run_over: bool = False
    decision: Decision | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be answered."""
        return self.decision is None and not (self.expired or self.overdue or self.run_over)


class Approvals:
    """The questions of the runs in a journal, for whoever answers them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __repr__(self) -> str:
        return f"Approvals({self._journal!r})"

    async def pending(self, run: WorkflowId | None = None, *, limit: int = 100) -> list[PendingApproval]:
        """What is asked and not answered, at most `limit`: of one run, or of all that are not over.

        Those of the run that was begun last come first. Each run of the journal is looked at.

        Raises:
            UnknownRun: the journal does not know the run. StateFormatError: what it has cannot be read.
        """
        if not 1 <= limit <= MOST_LISTED:
            raise Misuse(f"limit is {limit!r}; give a number from 1 to {MOST_LISTED}")
        if run is not None:
            return [one for one in await self.of_run(run) if one.is_open][:limit]
        found: list[PendingApproval] = []
        after: str | None = None
        while True:
            page = await self._journal.store.runs(limit=_PAGE, after=after)
            for first in range(0, len(page.runs), _AT_ONCE):
                each = await asyncio.gather(*(self._open_of(one.run) for one in page.runs[first : first + _AT_ONCE]))
                found += [one for some in each for one in some]
                if len(found) >= limit:
                    return found[:limit]
            after = page.after
            if after is None:
                return found

    async def of_run(self, run: WorkflowId) -> list[PendingApproval]:
        """All questions of a run, those that were answered too, as they were asked last; not what is to be done anew.

        Raises:
            UnknownRun: the journal does not know the run. StateFormatError: what it has cannot be read.
        """
        texts = await self._journal.store.read(check_workflow_id(run))
        if not texts:
            raise UnknownRun(run, self._journal.store.url)
        _, now = await self._journal.store.get(run, ())
        over = is_over(texts)
        found = [
            _pending(run, task_id, sheet, now / 1e6, run_over=over) for task_id, sheet in questions_in(texts).items()
        ]
        return sorted(found, key=lambda one: (one.asked_at, one.task_id))

    async def answer(
        self,
        run: WorkflowId,
        task_id: TaskId,
        choice: str,
        *,
        by: str,
        note: str = "",
        values: Mapping[str, JsonValue] | None = None,
        anyway: bool = False,
    ) -> Decision:
        """Answer; the decision is durable when this returns, and the first one stands. Given twice, it is given once.

        by: a user name; it is taken on trust. note: at most 2,000 characters. values: of the approval's fields.
        anyway: also where a scheduler asks that does not look into the journal meanwhile.

        Raises:
            AlreadyDecided: somebody else was first. NotAsked: nothing is asked, or the time is over.
            AskedElsewhere: it is to be answered on a scheduler. Misuse: the answer is none that may be given.
            UnknownRun: the journal does not know the run. Unavailable: whether it was taken is not known; answer again.
        """
        file = ApprovalFile(self._journal, check_workflow_id(run), check_name(task_id, "task id"))
        given = Decision(choice, by, 0.0, note, {} if values is None else values)
        verdict, sheet = await file.answer(given, anyway=anyway)
        if verdict == "not_asked" or sheet is None:
            raise await self._not_asked(run, task_id)
        decision = sheet.decision
        if verdict == "elsewhere":
            raise AskedElsewhere(task_id, place=sheet.asked.place, where=sheet.asked.where)
        if verdict == "expired" or decision is None:
            until = f" at {instant(sheet.asked.until)}" if sheet.asked.until is not None else ""
            raise NotAsked(
                f"the time to answer {task_id!r} of the run {run!r} was over{until}; resume the run to be asked again"
            )
        if verdict == "late":
            rejected = decision.choice in sheet.asked.approval.rejects
            at = instant(decision.at)
            raise AlreadyDecided(task_id, decision.to_dict(), at=at, run=run, rejected=rejected)
        await Bell(self._journal.store, run, None).ring()
        return decision

    async def _open_of(self, run: WorkflowId) -> list[PendingApproval]:
        texts, _ = await self._journal.store.get(run, (RUN.record,))
        if is_over(texts):
            return []
        try:
            return [one for one in await self.of_run(run) if one.is_open]
        except UnknownRun:
            # Removed since it was listed.
            return []

    async def _not_asked(self, run: WorkflowId, task_id: TaskId) -> NotAsked:
        texts = await self._journal.store.read(run)
        if MACHINE in texts:
            return NotAsked(
                f"the run {run!r} is a state machine, which takes events: 'coterie machine show {run}' says which"
            )
        known = [one.task_id for one in await self.of_run(run) if one.is_open and one.task_id != task_id]
        asks = f"the run asks: {', '.join(map(repr, known[:20]))}" if known else "the run asks nothing now"
        return NotAsked(f"the task {task_id!r} of the run {run!r} {_silence(texts, run, task_id)}; {asks}")


def _silence(texts: Mapping[str, str], run: WorkflowId, task_id: TaskId) -> str:
    """Why a task asks nothing."""
    if sheet_path(task_id) not in texts:
        if place_of(task_id).record in texts:
            return "has ended, and asked nobody"
        return "has not asked anything so far, or there is none"
    if is_over(texts):
        return f"cannot be answered, as the run has ended; 'coterie runs resume {run}' asks again"
    return f"is to be asked anew; 'coterie runs resume {run}' does so, unless a process is at the run"


def _pending(run: WorkflowId, task_id: TaskId, sheet: Sheet, now_s: float, *, run_over: bool) -> PendingApproval:
    asked = sheet.asked
    return PendingApproval(
        run,
        task_id,
        asked.role,
        asked.approval,
        asked.at,
        asked.until,
        asked.place,
        asked.where,
        asked.by,
        body_of(asked.input, asked.context),
        overdue=sheet.end is None and asked.until is not None and now_s >= asked.until,
        expired=sheet.end is not None and sheet.decision is None,
        run_over=sheet.end is None and run_over,
        decision=sheet.decision,
    )
