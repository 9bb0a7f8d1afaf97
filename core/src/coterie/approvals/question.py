"""Between a task that asks and its sheet in the journal: how it is put, and how the task ended by the answer."""

from __future__ import annotations

from datetime import UTC, datetime

from coterie._rules.approval import Ask, Sheet
from coterie._rules.approval_answer import Expired
from coterie.approval import Approval, Decision
from coterie.approvals.asked import Place
from coterie.approvals.preview import input_preview, upstream_previews
from coterie.attempt import Ended, kept
from coterie.clock import Clock
from coterie.context import TaskContext
from coterie.errors import ApprovalRejected, Misuse, TaskTimedOut
from coterie.events import Event, Listener
from coterie.slots import Slots, TypeSlots
from coterie.task import Task

__all__ = ["Nobody", "approval_of", "ended_by", "instant", "question_of", "slots_for", "tell_asked", "tell_decided"]


class Nobody(TypeSlots):
    """In place of the agents of a type, for a task that a person decides: there are no slots to wait for.

    What it asks is its version: another question, another answer.
    """

    __slots__ = ("_version",)

    def __init__(self, approval: Approval) -> None:
        super().__init__()
        self._version = approval.version

    @property
    def version(self) -> str:
        """Of the question."""
        return self._version


def slots_for(task: Task, slots: Slots) -> TypeSlots:
    """Whoever performs a task.

    Raises:
        UnknownAgentType: nobody does.
    """
    if task.approval is not None:
        return Nobody(task.approval)
    return slots.of(task.agent_type, task_id=task.id, placement=task.placement)


def approval_of(task: Task) -> Approval:
    """The task's approval.

    Raises:
        Misuse: it has none.
    """
    if task.approval is None:
        raise Misuse(f"{task.id!r} asks nobody; run it with execute_task, or give it an approval")
    return task.approval


async def question_of(context: TaskContext, place: Place) -> Ask:
    """What the task asks now.

    Raises:
        Unavailable: what it is about could not be read.
    """
    return Ask(
        approval_of(context.task),
        context.task.agent_type,
        context.fingerprint,
        context.run.epoch,
        input=input_preview(context.fresh_input()),
        context=await upstream_previews(context),
        place=place.kind,
        where=place.where,
    )


async def ended_by(context: TaskContext, sheet: Sheet, clock: Clock) -> Ended:
    """How the task ended by what stands on the sheet. It took as long as the answer did.

    Raises:
        Unavailable: the artifact store failed.
    """
    asked, end = sheet.asked, sheet.end
    if end is None:
        raise Misuse(f"{context.task.id!r} is not answered yet; ask for it again later")
    began_s = asked.at - (clock.now() - clock.monotonic())
    times = (asked.number, None, began_s, max(0.0, round(end.at - asked.at, 6)))
    if isinstance(end, Expired):
        return Ended("failed", None, _too_late(context.task, asked.approval), *times)
    if end.choice in asked.approval.rejects:
        error = ApprovalRejected(context.task.id, end.to_dict(), at=instant(end.at))
        return Ended("failed", None, error, *times)
    return Ended("succeeded", await kept(context, end.to_dict()), None, *times)


def instant(at: float) -> str:
    """As people read it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def tell_asked(context: TaskContext, place: Place, listener: Listener | None) -> None:
    """A person is asked. Event fields: question, place."""
    if listener is not None:
        fields = {"question": approval_of(context.task).question, "place": place.kind}
        listener(Event("approval.asked", context.workflow_id, context.task_id, fields))


def tell_decided(context: TaskContext, decision: Decision | None, listener: Listener | None) -> None:
    """A person has answered, or the time is over; then `choice` may be None. Event fields: choice, by."""
    if listener is not None:
        fields = {"choice": decision and decision.choice, "by": decision.by if decision else "timeout"}
        listener(Event("approval.decided", context.workflow_id, context.task_id, fields))


def _too_late(task: Task, approval: Approval) -> TaskTimedOut:
    waited_s = approval.timeout_s or 0.0
    return TaskTimedOut(
        task.id,
        waited_s,
        said=f"nobody answered {approval.question!r} of {task.id!r} within {waited_s:g} s; ask again by resuming the "
        "run, or give the approval a longer timeout_s, or a choice on_timeout",
    )
