"""One decision of a person: of a plan, or alone in a DAG. No worker is held while they think."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, NoReturn
from urllib.parse import quote

from airflow.sdk import Context, Param, conf
from airflow.sdk.exceptions import TaskAwaitingInput

from airflow_provider_coterie.asking import Answer, Question, form_of, put, told
from airflow_provider_coterie.identity import RunIdentity, identity_of, unit_name
from airflow_provider_coterie.operators.agent import loaded, unlazy
from airflow_provider_coterie.operators.plan_task import PlanTaskOperator, Surroundings
from airflow_provider_coterie.waiting import ClaimWait, claim_wait
from airflow_provider_coterie.wire import stored
from coterie import Approval, ArtifactStore, Asked, Decision, Field, Ref, Task, TaskResult, Team
from coterie.approvals import Place
from coterie.errors import ClaimedElsewhere, Misuse, Unavailable
from coterie.ids import TaskId
from coterie.journal.place import place_of

__all__ = ["CoterieApprovalOperator"]

_NOTE = "note"


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a person answered to the question that the task had put, if it had.

    asked_id, code: which question, and what its answer needs. event: as the server gives it; None: there is none.
    """

    asked_id: str = ""
    code: str = ""
    event: Mapping[str, Any] | None = None

    def kept(self) -> dict[str, Any]:
        """For `resume`, while it cannot be taken."""
        event = None if self.event is None else dict(self.event)
        return {"asked_id": self.asked_id, "code": self.code, "answer": event}

    def decision(self, task: Task) -> Decision | None:
        """What was decided; None: the time was over.

        Raises:
            Misuse: as `Answer.choice`.
        """
        answer = Answer.of(self.event or {})
        if answer is None or answer.by is None:
            return None
        assert task.approval is not None
        # A user may be named by an id as well: whichever of the two may answer is who did.
        by = next((name for name in answer.names if name in task.approval.assignees), answer.by)
        values = dict(answer.values)
        note = str(values.pop(_NOTE, ""))
        return Decision(answer.choice(self.code), by, answer.at, note, values)


class CoterieApprovalOperator(PlanTaskOperator):
    """Ask a person on the server, as a required action of this task, and record in the journal who decided what.

    question, or approval: a text that is to be approved or rejected; or an `Approval`, with choices, fields, a time-out
    and those who may answer: their ids, as the server's authentication has them.
    role: who is asked, for the record. input: a JSON object that is shown with it (templated). A `Ref` in it, such as
    an agent's output, is replaced by its value.
    on_clear: what a cleared task does that was decided: "run": ask anew; "replay": tell the decision.
    plan_node: set by `plan_to_dag`; the plan's task then counts, word for word, and nothing of it is templated.

    While it waits the task is `awaiting_input`: it holds no worker and no slot of a pool. The return value is a `Ref`
    to `{"choice", "by", "at", "note", "values"}`; a rejecting choice fails the task without a retry. An answer that
    cannot be taken, as of somebody who may not answer, changes nothing, and it is asked anew; so is a question whose
    subject has changed meanwhile. Airflow shows the words of a task's first question for ever: others are in its log.
    """

    template_fields: Sequence[str] = ("input",)
    template_fields_renderers = {"input": "json"}  # noqa: RUF012  # Airflow's own form
    ui_color = "#f4ead4"

    def __init__(
        self,
        *,
        question: str | None = None,
        approval: Approval | None = None,
        role: str = "person",
        input: Mapping[str, Any] | None = None,  # noqa: A002  # the word that plans use
        **kwargs: Any,  # the journal's and Airflow's own arguments
    ) -> None:
        node = kwargs.get("plan_node")
        super().__init__(**kwargs)
        if node is None and (question is None) == (approval is None):
            raise Misuse(f"the task {self.task_id!r} asks nothing, or two things; pass question or approval")
        self.approval = approval if question is None else Approval(question)
        self.role = role
        self.input = node.task.input if node is not None else input

    def task_of(self) -> Task:
        """The plan's task; or one made of the arguments, still without its input."""
        if self.plan_node is not None:
            return self.plan_node.task
        depends_on = tuple(self.upstream_ids())
        return Task(unit_name(self.task_id), self.role, depends_on=depends_on, approval=self.approval)

    def upstream_ids(self) -> Mapping[TaskId, str]:
        """The plan's; or the direct upstream tasks, under their own ids."""
        if self.plan_node is not None:
            return super().upstream_ids()
        return {name: name for name in sorted(self.upstream_task_ids)}

    def identity(self, context: Context) -> RunIdentity:
        """Whose run it is, and which instance of a mapped task."""
        group = self.plan_node.group_id if self.plan_node is not None else None
        return identity_of(context, group, on_clear=self.on_clear, map_index=context["ti"].map_index)

    def pre_execute(self, context: Context) -> None:
        """Set no limit: a person takes as long as they take."""

    def team_here(self) -> Team:
        """Of a plan; alone, nobody works here but whoever is asked."""
        return super().team_here() if self.plan_node is not None else Team("people")

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Render a lone task's fields. A plan's input is data: what looks like a template in it is none."""
        if self.plan_node is None:
            super().render_template_fields(context, jinja_env)

    def execute(self, context: Context) -> Ref | None:
        """Ask, unless the journal knows the answer.

        Raises:
            AirflowFailException: it was rejected, or nobody answered in time; a retry would not help.
            TaskAwaitingInput: it waits for a person. TaskDeferred: another process runs the whole of the run, or a
                store is away while an answer is there.
        """
        return self._go(context, _Reply())

    def resume(
        self, context: Context, event: Mapping[str, Any], asked_id: str = "", code: str = "", answer: Any = None
    ) -> Ref | None:
        """Take the answer, or note that the time is over; as `execute`.

        asked_id, code: which question was put, and what its answer needs. answer: the event, if it could not be taken
        when it came.
        """
        given = answer if answer is not None else event if asked_id and "woken_by" not in event else None
        return self._go(context, _Reply(asked_id, code, given))

    def _go(self, context: Context, reply: _Reply) -> Ref | None:
        with self.journalled():
            given = None if self.plan_node is not None else unlazy(self.input or {})
            place = Place("airflow", _page_of(context))
            map_index = context["ti"].map_index

            async def work(around: Surroundings) -> tuple[ArtifactStore, TaskResult] | ClaimWait | Asked:
                task = self.task_of()
                if given is not None:
                    name = unit_name(self.task_id, map_index)
                    task = replace(task, id=name, input=await loaded(around.store, given))
                came = await self._came(around, task, place, reply)
                return (around.store, await stored(around.store, came)) if isinstance(came, TaskResult) else came

            try:
                came = self.perform(context, work)
            except Unavailable as error:
                if reply.event is None:
                    raise
                self.hold_answer(error, reply.kept())
            if isinstance(came, ClaimWait):
                self.defer_until_free(came, reply.kept())
            if isinstance(came, Asked):
                self._put(context, came)
            return self.finish(context, *came)

    async def _came(
        self, around: Surroundings, task: Task, place: Place, reply: _Reply
    ) -> TaskResult | ClaimWait | Asked:
        """How it ended, or what there is to wait for."""
        try:
            if reply.event is not None:
                try:
                    return await self._decided(around, task, reply)
                # NotAsked is one too: what was decided is not what is asked by now.
                except Misuse as error:
                    self.log.warning("the answer was not taken: %s", error)
            return await around.orchestrator.ask(task, place=place, **_known(around))
        except ClaimedElsewhere as busy:
            self.log.info("waiting: %s", busy)
            return claim_wait(busy, around.identity.workflow_id, place_of(task.id))

    async def _decided(self, around: Surroundings, task: Task, reply: _Reply) -> TaskResult:
        decision = reply.decision(task)
        result = await around.orchestrator.decide(task, decision, asked_id=reply.asked_id, **_known(around))
        stands = await loaded(around.store, result.output)
        outcome = f"{stands['choice']!r}, by {stands['by']}" if isinstance(stands, dict) else str(result.error)
        answered = "the time is over" if decision is None else f"{decision.by} answered {decision.choice!r}"
        tell = self.log.info if decision is None or _is_what(decision, stands, outcome) else self.log.warning
        tell("%s; it is decided: %s", answered, outcome)
        return result

    def _put(self, context: Context, asked: Asked) -> NoReturn:
        question = Question(asked.question, asked.choices, asked.body, _form(asked.fields), asked.assignees)
        is_shown = put(context, question)
        if not is_shown:
            self.log.warning("%s", told(question))
        self.log.info("asks on the server, until it is answered%s: %s", _within(asked.left_s), asked.question)
        left = None if asked.left_s is None else timedelta(seconds=max(0.0, asked.left_s))
        kept = {"asked_id": asked.id, "code": "" if is_shown else question.code}
        raise TaskAwaitingInput(method_name="resume", kwargs=kept, timeout=left)


def _is_what(decision: Decision, stands: Any, outcome: str) -> bool:
    """Whether it is this answer that stands, and not one that came first. outcome: names who rejected, and by what."""
    if isinstance(stands, dict):
        return (stands["choice"], stands["by"]) == (decision.choice, decision.by)
    return f"answered {decision.choice!r} by {decision.by!r}" in outcome


def _known(around: Surroundings) -> dict[str, Any]:
    """What the journal's side is told of the run."""
    return {
        "upstream": around.upstream,
        "workflow_id": around.identity.workflow_id,
        "params": around.params,
        "epoch": around.identity.epoch,
        "plan": around.plan,
        "intent": around.intent,
    }


def _form(fields: Mapping[str, Field]) -> dict[str, Any]:
    params = {name: _param(field) for name, field in fields.items()}
    return form_of({**params, _NOTE: Param("", type="string", description="A word with the decision.")})


def _param(field: Field) -> Param:
    kinds = [field.type] if field.required else [field.type, "null"]
    more: dict[str, Any] = {"title": field.title} if field.title else {}
    if field.choices:
        more["enum"] = [*field.choices, *([] if field.required else [None])]
    return Param(field.default, type=kinds, **more)


def _page_of(context: Context) -> str:
    """Where a person finds the question."""
    ti, base = context["ti"], conf.get("api", "base_url", fallback="") or ""
    path = f"/dags/{quote(ti.dag_id)}/runs/{quote(ti.run_id)}/tasks/{quote(ti.task_id)}/required_actions"
    is_mapped = ti.map_index is not None and ti.map_index >= 0
    return f"{base.rstrip('/')}{path}" + (f"?map_index={ti.map_index}" if is_mapped else "")


def _within(left_s: float | None) -> str:
    return "" if left_s is None else f", for {left_s:.0f} s"
