"""Have people decide the tasks of a plan that ask them: by a form of the flow run, when nothing else can run."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.utilities.urls import url_for
from pydantic import Field as Part
from pydantic import create_model

from coterie import Asked, Decision, Runtime, Task, TaskResult
from coterie.approvals import Place
from coterie.errors import ClaimedElsewhere, LeaseLost, Misuse, NotAsked, PlanChanged, Unavailable
from coterie.ids import TaskId
from coterie.journal.approval import ApprovalFile
from prefect_coterie.people.form import choice, filled_in, plain, values_of
from prefect_coterie.people.inquiry import LOOK_S, Answer, Inquiry
from prefect_coterie.people.showing import KEY_PREFIX, Question
from prefect_coterie.people.standstill import Person, flow_run_here
from prefect_coterie.session import Job, session

__all__ = ["People", "still_asked"]

_MOST_NOTE, _MOST_NAME = 2_000, 200
# Between two attempts while the journal is away, or somebody else holds the task.
_AGAIN_S = 2.0


class People:
    """Those who are asked by the tasks of one plan run.

    how: the flow run is paused, or suspended, once no task of the plan is at work.
    """

    def __init__(self, job: Job, *, how: Person = "pause", poll_s: float = 5.0) -> None:
        self._job = job
        self._how = how
        self._poll_s = poll_s
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._open: dict[TaskId, str] = {}

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While a task is at work, nobody is asked."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    async def decide(self, task: Task, upstream: Mapping[TaskId, TaskResult]) -> TaskResult:
        """How a task ends that asks a person. Called while `busy`; it is not while only the person is waited for.

        While the journal is away, or another process holds the task, it is asked again until that is over.

        Raises:
            Pause: the flow run is suspended now. Abort: it was ended elsewhere. PlanChanged: as `Orchestrator.ask`.
        """
        async with session(self._job) as runtime:
            case = _Case(runtime, self._job, task, upstream, self)
            while isinstance(found := await case.ask(), Asked):
                ended = await self._asked(case, found)
                if ended is not None:
                    return ended
            return found

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While a busy task waits for a person, or for another process."""
        self._count(-1)
        try:
            yield
        finally:
            self._count(1)

    async def _asked(self, case: _Case, asked: Asked) -> TaskResult | None:
        """How the task ended by an answer to this very question; None if it is settled elsewhere, or asked anew."""
        run, task_id, refused = self._job.workflow_id, case.task.id, ""
        inquiry = Inquiry(_key_of(run, task_id, asked), poll_s=self._poll_s, waiting=self.waiting)

        async def question() -> Question:
            await self._nothing_else_runs()
            # All of them: any one that is answered elsewhere lets others begin.
            about: dict[str, Any] = {"run": run, "asked": dict(self._open)}
            elsewhere = f" (or: coterie approve {run} {task_id})" if self._job.journal is not None else ""
            return Question(
                _form(asked), _text(asked, run, task_id, refused), f"{task_id} asks a person{elsewhere}", about
            )

        async def is_settled() -> bool:
            return await case.is_settled(asked)

        self._open[task_id] = asked.id
        try:
            while (answer := await inquiry.answer(self._how, question, is_settled)) is not None:
                taken = await case.take(asked, answer)
                if not isinstance(taken, str):
                    return taken
                refused = taken
            return await case.expire(asked)
        finally:
            del self._open[task_id]

    async def _nothing_else_runs(self) -> None:
        while True:
            await self._idle.wait()
            # What has just ended lets others begin: they have, after another turn of the loop.
            await asyncio.sleep(0)
            if not self._busy:
                return

    def _count(self, change: int) -> None:
        self._busy += change
        if self._busy:
            self._idle.clear()
        else:
            self._idle.set()


class _Case:
    """One task that asks, and what the journal knows of it."""

    def __init__(
        self, runtime: Runtime, job: Job, task: Task, upstream: Mapping[TaskId, TaskResult], people: People
    ) -> None:
        self.task = task
        self._runtime = runtime
        self._people = people
        journal = runtime.journal
        self._file = None if journal is None else ApprovalFile(journal, job.workflow_id, task.id)
        self._told = False
        run_id = flow_run_here().id
        self._place = Place("prefect", url_for("flow-run", obj_id=run_id) or f"flow run {run_id}")
        self._given: dict[str, Any] = {
            "upstream": dict(upstream),
            "workflow_id": job.workflow_id,
            "params": job.params,
            "intent": job.intent,
        }

    async def ask(self) -> TaskResult | Asked:
        while True:
            try:
                found: TaskResult | Asked = await self._runtime.orchestrator.ask(
                    self.task, place=self._place, **self._given
                )
            except (ClaimedElsewhere, LeaseLost, Unavailable) as error:
                await self._wait(error)
            else:
                self._told = False
                return found

    async def take(self, asked: Asked, answer: Answer) -> TaskResult | str | None:
        """How the task ended by an answer; why that was not taken; None if this is not asked any more."""
        decision = _decision_of(answer)
        if asked.until is not None and answer.at > asked.until:
            _tell_refused(decision, "its time was over")
            await asyncio.sleep(LOOK_S)
            return None
        while True:
            try:
                ended: TaskResult = await self._runtime.orchestrator.decide(
                    self.task, decision, asked_id=asked.id, **self._given
                )
            except (ClaimedElsewhere, LeaseLost, Unavailable) as error:
                await self._wait(error)
            except PlanChanged:
                raise
            except Misuse as error:
                _tell_refused(decision, str(error))
                return None if isinstance(error, NotAsked) else str(error)
            else:
                await self._tell_if_late(decision)
                return ended

    async def expire(self, asked: Asked) -> TaskResult | None:
        """The end of a question whose time is over, where no journal knows it."""
        if self._file is not None:
            return None
        ended: TaskResult = await self._runtime.orchestrator.decide(self.task, None, asked_id=asked.id, **self._given)
        return ended

    async def is_settled(self, asked: Asked) -> bool:
        """Whether nobody need answer this any more: somebody has, elsewhere, its time is over, or it is asked anew."""
        if self._file is None:
            return asked.until is not None and time.time() >= asked.until
        try:
            is_open = await still_asked(self._file, asked.id)
        except Unavailable as error:
            self._tell(error)
            return False
        self._told = False
        return not is_open

    async def _tell_if_late(self, given: Decision) -> None:
        if self._file is None:
            return
        # It was taken, or not, whether that is told or not.
        with suppress(Unavailable):
            sheet, _ = await self._file.look()
            _tell_if_other(sheet.decision if sheet is not None else None, given)

    async def _wait(self, error: ClaimedElsewhere | LeaseLost | Unavailable) -> None:
        self._tell(error)
        with self._people.waiting():
            await asyncio.sleep(max(_AGAIN_S, error.retry_after_s if isinstance(error, ClaimedElsewhere) else 0.0))

    def _tell(self, error: Exception) -> None:
        """Once, until it is over."""
        if not self._told:
            _logger().warning("%s waits, and asks again until it can be asked: %s", self.task.id, error)
        self._told = True


async def still_asked(file: ApprovalFile, asked_id: str) -> bool:
    """Whether a person is still needed for this very question: nobody has answered elsewhere, and there is time."""
    sheet, now_s = await file.look()
    if sheet is None or sheet.asked.id != asked_id or sheet.end is not None:
        return False
    return sheet.asked.until is None or now_s < sheet.asked.until


def _key_of(workflow_id: str, task_id: str, asked: Asked) -> str:
    """What this very question is called among a flow run's: the same in every attempt."""
    return f"{KEY_PREFIX}{hashlib.sha256(f'{workflow_id} {task_id} {asked.id}'.encode()).hexdigest()[:24]}"


def _text(asked: Asked, workflow_id: str, task_id: str, refused: str) -> str:
    """What is decided about. refused: why the last answer was not taken."""
    lines = [
        f"**{plain(asked.question)}**",
        f"Asked by the task `{task_id}` of the run `{workflow_id}`, of whoever is *{plain(asked.role)}*.",
    ]
    if asked.until is not None:
        until = datetime.fromtimestamp(asked.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        lines.append(f"It can be answered until {until}.")
    if refused:
        lines.append(f"The last answer was not taken: {plain(refused)}")
    if asked.body:
        lines.append(asked.body)
    return "\n\n".join(lines)


def _form(asked: Asked) -> type[RunInput]:
    told = "Your name: who decided is kept."
    anybody = (str, Part(title="Who", description=told, min_length=1, max_length=_MOST_NAME))
    rejects = f" Rejected by: {', '.join(asked.rejects)}." if asked.rejects else ""
    parts: dict[str, Any] = {
        "choice": choice(asked.choices, title="Choice", description=f"What you decide.{rejects}"),
        "who": choice(asked.assignees, title="Who", description=told) if asked.assignees else anybody,
        "note": (str, Part("", title="Note", max_length=_MOST_NOTE, description="Kept with the decision.")),
    }
    if asked.fields:
        values = values_of(asked.fields, needed="Needed, unless you reject.")
        parts["values"] = (values, Part(default_factory=values, title="Values"))
    form: type[RunInput] = create_model("Approval", __base__=RunInput, **parts)
    return form


def _decision_of(answer: Answer) -> Decision:
    """What was answered. What is wrong with it is found by whoever takes it."""
    given = answer.values
    chosen, who, note = (str(given.get(name) or "") for name in ("choice", "who", "note"))
    return Decision(chosen, who, answer.at, note, filled_in(given.get("values")))


def _tell_if_other(first: Decision | None, given: Decision) -> None:
    if first is not None and (first.by, first.choice, first.note) != (given.by, given.choice, given.note):
        _tell_refused(given, f"{first.by!r} had chosen {first.choice!r} before")


def _tell_refused(decision: Decision, why: str) -> None:
    """People learn here what became of an answer that was not taken: Prefect has no other place for it."""
    _logger().warning("the answer %r by %r was not taken: %s", decision.choice, decision.by, why)


def _logger() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    return get_run_logger()
