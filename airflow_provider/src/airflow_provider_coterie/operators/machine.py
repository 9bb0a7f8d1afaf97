"""A state machine in one Airflow task, which holds no worker while the machine waits for people."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from secrets import token_hex
from typing import Any, NoReturn

from airflow.sdk import Context, Param
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_coterie.asking import QUESTION_KEY, Answer, Question, form_of, put, told
from airflow_provider_coterie.identity import identity_of, ticket_of
from airflow_provider_coterie.ledger import SEEN_S, Ledger, keeping, look
from airflow_provider_coterie.machine_runs import note_told, run_of
from airflow_provider_coterie.machine_trigger import CoterieMachineTrigger
from airflow_provider_coterie.machine_turn import Ended, Parked, Refusal, Seen, Turn, status_document
from airflow_provider_coterie.operators.journalled import JournalledOperator, is_success
from airflow_provider_coterie.waiting import ClaimWait
from airflow_provider_coterie.wire import STATUS_KEY
from coterie import Ref, StateMachine, sync
from coterie.errors import CoterieError, LeaseLost, Misuse, Unavailable
from coterie.events import Event, Listener
from coterie.ids import WorkflowId
from coterie.machine_run import MachineStatus

__all__ = ["CoterieStateMachineOperator"]

_COMMENT = {"comment": Param("", type="string", description="Goes with what you choose.")}


class CoterieStateMachineOperator(JournalledOperator):
    """Run a state machine to its end, from wherever it is by the journal.

    machine: a `StateMachine`, or the path of its YAML or JSON file.
    machine_params: the run's parameters, over the machine's defaults (templated).
    team_path: `package.module:team`; by default the connection's. Never templated: importing it runs code.
    asks: whether a state that waits for events offers them on the server, as a required action of this task; what is
    chosen is sent as an event, with the user's name. Else they come from elsewhere, as by `coterie machine send`; that
    they may in any case.
    fields: what may be filled in beside, `Param`s by name; it is the event's payload, without what was left empty.
    assigned_users: the ids of those who may answer; by default whoever may act on the DAG.
    on_clear: a task that is cleared when its machine is over begins another one; "replay" has it tell the end of one
    that succeeded. One whose machine is not over goes on.

    While it waits, for an event, a time-out or a refusal to be over, it is deferred. Airflow shows the words of a
    task's first question for ever: those of later ones are in its log, with a code that their answers need. The return
    value is a `Ref` to the outputs of the states' actions; the XCom `coterie_status` says how the machine ended.
    """

    template_fields: Sequence[str] = ("machine_params",)
    template_fields_renderers = {"machine_params": "json"}  # noqa: RUF012  # Airflow's own form
    shallow_copy_attrs: Sequence[str] = ("machine",)
    ui_color = "#e8f0e4"

    def __init__(
        self,
        *,
        machine: StateMachine | str | Path,
        machine_params: Mapping[str, Any] | None = None,
        team_path: str | None = None,
        asks: bool = True,
        fields: Mapping[str, Any] | None = None,
        assigned_users: Sequence[str] = (),
        **kwargs: Any,  # the journal's and Airflow's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.machine = machine
        self.machine_params = machine_params
        self.team_path = team_path
        self.asks = asks
        self.form = form_of(_COMMENT if fields is None else fields)
        self.assigned_users = tuple(assigned_users)
        self._told: WorkflowId | None = None

    def execute(self, context: Context) -> Ref:
        """Run the machine as far as it goes without waiting.

        Raises:
            AirflowFailException: the machine failed or was cancelled, or cannot run; a retry would not help.
            Unavailable, LeaseLost: a store did not answer, or another process took over; a later try may succeed.
            TaskDeferred: it waits.
        """
        return self._go(context, Seen(), None)

    def resume(
        self,
        context: Context,
        event: Mapping[str, Any],
        seen: Mapping[str, Any] | None = None,
        held: Mapping[str, Any] | None = None,
    ) -> Ref:
        """Go on, after an answer, an event from elsewhere, a time-out, or a refusal that is over; as `execute`.

        held: the event of an answer that came while a store was away.
        """
        before = Seen(**seen or {})
        event = event if held is None else held
        answer = Answer.of(event)
        if answer is None:
            self.log.info("resumed, woken by: %s", event.get("woken_by"))
            since = event.get("first_refused_at")
            return self._go(context, replace(before, refused_at=None if since is None else float(since)), None)
        self.log.info("answered by %s: %s", answer.by or "nobody", ", ".join(answer.options))
        try:
            return self._go(context, before, answer)
        except Unavailable as error:
            # Sent again, it is the same.
            self.hold_answer(error, {"seen": asdict(before), "held": dict(event)})

    def accepted(self, task_instance: Any) -> None:
        """The journal is told that Airflow knows of the end: should the task be cleared, that is a wish for another."""
        ledger, run = self._ledger, self._told
        if ledger is not None and run is not None and is_success(task_instance):
            try:
                sync.run(asyncio.wait_for(note_told(ledger.journal, run, ledger.intent), SEEN_S))
            except (CoterieError, TimeoutError) as error:
                self.log.warning("journal.not_seen %s: %r; should the task be cleared, it is replayed", run, error)
        super().accepted(task_instance)

    def _go(self, context: Context, seen: Seen, answer: Answer | None) -> Ref:
        with self.journalled():
            try:
                seen, came = self._work.run(self._turn(context, seen, answer))
            except (Unavailable, LeaseLost):
                raise
            except CoterieError as error:
                raise AirflowFailException(f"{type(error).__name__}: {error}") from error
            if isinstance(came, Parked):
                self._park(context, came, seen)
            if isinstance(came, Refusal):
                self._wait_out(came, seen)
            return self._end(context, came)

    def _turn(
        self, context: Context, seen: Seen, answer: Answer | None
    ) -> Coroutine[Any, Any, tuple[Seen, Ended | Parked | Refusal]]:
        # Airflow's calls, all of them, before the event loop is entered.
        ti, conn_id = context["ti"], self.coterie_conn_id
        identity = identity_of(context, self.task_id, on_clear=self.on_clear, map_index=ti.map_index)
        machine = self.machine if isinstance(self.machine, StateMachine) else StateMachine.from_file(self.machine)
        team, params = self.hook.team(self.team_path), dict(self.machine_params or {})
        ledger = self.open_ledger(identity)
        if ledger is None:
            raise Misuse(
                f"the machine {machine.name!r} needs a journal to keep its state in, and that of the connection "
                f"{conn_id!r} is off; set 'journal' to 'strict' or 'relaxed' in it, and 'store' to one that all tasks "
                "share"
            )
        runtime = self.runtime(team, ledger)

        async def take() -> tuple[Seen, Ended | Parked | Refusal]:
            async with runtime:
                await look(ledger.journal, identity.workflow_id, conn_id)
                run = seen.workflow_id or await run_of(ledger.journal, identity)
                ledger.of(run)
                # Which run it is, is known only here; the link is left by a call of Airflow's, which blocks.
                await asyncio.to_thread(self.lead_to, context, run)
                async with keeping(ledger, identity) as intent:
                    turn = Turn(
                        runtime=runtime,
                        team=team,
                        machine=machine,
                        params=params,
                        run=run,
                        intent=intent,
                        seen=seen,
                        ticket=ticket_of(context),
                        asks=self.asks,
                        on_event=self._heard(ledger, seen.told),
                        tell=self.log.info,
                        warn=self.log.warning,
                        users=self.assigned_users,
                    )
                    came = await turn.take(answer)
                    if isinstance(came, Ended) and came.status.status != "succeeded":
                        await note_told(ledger.journal, run, intent)
                return replace(seen, workflow_id=run), came

        return take()

    def _heard(self, ledger: Ledger, told: int) -> Listener:
        def heard(event: Event) -> None:
            if event.name == "machine.moved" and event.fields["visit"] > told:
                fields = event.fields
                self.log.info(
                    "visit %s: %s, %s%s, to %s",
                    fields["visit"],
                    fields["state"],
                    fields["trigger"],
                    f" by {fields['who']}" if fields["who"] else "",
                    fields["to"],
                )
            ledger.heard(event)

        return heard

    def _end(self, context: Context, ended: Ended) -> Ref:
        ti: Any = context["ti"]
        status = ended.status
        ti.xcom_push(STATUS_KEY, {**status_document(status), "missing": []})
        if status.status == "succeeded":
            self._told = status.workflow_id
            return ended.ref
        ti.xcom_push("return_value", ended.ref)
        try:
            status.raise_for_status()
        except CoterieError as error:
            raise AirflowFailException(str(error)) from None
        raise AssertionError("unreachable")

    def _park(self, context: Context, parked: Parked, seen: Seen) -> NoReturn:
        """Let go of the worker until somebody has answered, or the machine has moved."""
        status, question = parked.status, parked.question
        seen, mark = replace(seen, told=status.visit - 1, asked=0, code=""), None
        if question is not None:
            # Named before it is open: who still waits for the answer to the one before leaves it alone.
            mark = token_hex(8)
            context["ti"].xcom_push(QUESTION_KEY, mark)
            seen = replace(seen, asked=status.visit, code=self._put(context, question))
        self._tell_waiting(status, asked=question is not None)
        self.defer(
            trigger=CoterieMachineTrigger(
                coterie_conn_id=self.coterie_conn_id,
                executor=self.executor,
                workflow_id=status.workflow_id,
                visit=status.visit,
                asked=str(context["ti"].id) if question is not None else None,
                question=mark,
            ),
            method_name="resume",
            kwargs={"seen": asdict(seen)},
        )

    def _put(self, context: Context, question: Question) -> str:
        """Ask on the server. The code that the answer needs; empty: none."""
        question = replace(question, form=self.form, users=self.assigned_users)
        if put(context, question):
            return ""
        self.log.warning("%s", told(question))
        return question.code

    def _tell_waiting(self, status: MachineStatus, *, asked: bool) -> None:
        ways = [f"one of {', '.join(status.events)}"] if status.events else []
        if status.timeout_in_s is not None:
            ways.append(f"its time-out in {status.timeout_in_s:.0f} s")
        self.log.info(
            "waiting without a worker in the state %r (visit %d) for %s%s; also: coterie machine send %s EVENT",
            status.state,
            status.visit,
            " or ".join(ways),
            "; asked on the server" if asked else "",
            status.workflow_id,
        )

    def _wait_out(self, refusal: Refusal, seen: Seen) -> NoReturn:
        """Let go of the worker until the action may be tried again."""
        seen = replace(seen, asked=0, code="", refused_visit=refusal.visit, refused_at=None)
        if isinstance(refusal.wait, ClaimWait):
            self.defer_until_free(refusal.wait, {"seen": asdict(seen)})
        self.defer_for(refusal.wait, {"seen": asdict(seen)})
