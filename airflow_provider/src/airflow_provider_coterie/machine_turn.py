"""One turn at a machine: an answer is sent, then the machine is run as far as it goes without waiting."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from airflow_provider_coterie.asking import Answer, Question, inline
from airflow_provider_coterie.waiting import ClaimWait, Wait, claim_wait, patience_s, take_place, wait_of
from coterie import JsonValue, Ref, Runtime, StateMachine, Task, Team
from coterie.errors import ArtifactError, ClaimedElsewhere, MissingOutput, Misuse, Refused, UnknownRun
from coterie.events import Listener
from coterie.ids import WorkflowId
from coterie.journal import Intent
from coterie.journal.place import place_of
from coterie.machine_run import MachineStatus, Shift, StateMachineRun, execute_machine
from coterie.machine_run.file import action_task_id
from coterie.markdown import fenced

__all__ = ["Ended", "Parked", "Refusal", "Seen", "Turn", "status_document"]

# As JSON in ASCII: what Airflow stores stays within 1 KiB.
MAX_STATUS_BYTES = 900
_SHOWN_VISITS = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """What a task knows of its machine when it is resumed; JSON by `dataclasses.asdict`.

    workflow_id: the machine's run; empty: not known yet. asked, code: about which visit a person was asked (0: none),
    and what the answer needs. told: up to which visit the task's log has the machine's way. refused_visit, refused_at:
    whose action was refused first, and when, in seconds since the epoch.
    """

    workflow_id: WorkflowId = ""
    asked: int = 0
    code: str = ""
    told: int = 0
    refused_visit: int = 0
    refused_at: float | None = None


@dataclass(frozen=True, slots=True)
class Parked:
    """Only an event or a time-out leads on. question: for a person; None where nobody is to be asked."""

    status: MachineStatus
    question: Question | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The action of a visit cannot be performed now."""

    visit: int
    wait: Wait | ClaimWait


@dataclass(frozen=True, slots=True)
class Ended:
    """The machine is over. ref: its end and the outputs of its states."""

    status: MachineStatus
    ref: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a turn needs. runtime: open, with a journal.

    tell, warn: given each line for the task's log; `warn` those that say what became of an answer in vain.

    ticket: of the place in a pool's queue; another one in each try. users: the ids of those who may answer; nobody
    named: whoever the server lets.
    """

    runtime: Runtime
    team: Team
    machine: StateMachine
    params: Mapping[str, Any]
    run: WorkflowId
    intent: Intent
    seen: Seen
    ticket: str
    asks: bool
    on_event: Listener
    tell: Callable[[str], None]
    warn: Callable[[str], None]
    users: tuple[str, ...] = ()

    async def take(self, answer: Answer | None) -> Ended | Parked | Refusal:
        """Send the answer, if there is one, and go as far as it goes."""
        run = self._handle()
        if answer is not None and answer.by is not None:
            await self._send(run, answer)
        try:
            status = await self._run(run)
        except ClaimedElsewhere as busy:
            self.tell(f"waiting: {busy}")
            status = await run.status()
            place = place_of(action_task_id(status.state, status.visit))
            return Refusal(status.visit, claim_wait(busy, self.run, place))
        except Refused as refusal:
            status = await run.status()
            task = self._task_at(status)
            if task is None:
                # An event has ended the action meanwhile: on from there.
                return await self.take(None)
            self.tell(f"refused: {refusal}")
            return await self._refused(refusal, status.visit, task)
        if status.status is not None:
            return Ended(status, await self._outputs(run, status))
        return Parked(status, await self._question(run, status) if self.asks and status.events else None)

    def _handle(self) -> StateMachineRun:
        journal = self.runtime.journal
        assert journal is not None
        store, artifacts = self.runtime.orchestrator.pipeline.store, self.runtime.artifacts
        return StateMachineRun(journal, self.run, store=store, artifacts=artifacts)

    async def _send(self, run: StateMachineRun, answer: Answer) -> None:
        """Send what was chosen, about the visit that was asked about; what comes second changes nothing, and is told.

        A question that an earlier try left open is answered in vain: what has become of the machine is not known here.
        """
        if not self.seen.asked:
            self.warn(f"what {answer.by} chose was not taken: this try has not asked so far")
            return
        # The server goes by those who might when it was first asked.
        if self.users and not set(self.users).intersection(answer.names):
            self.warn(f"what {answer.by} chose was not taken: {', '.join(self.users)} may answer")
            return
        # Sent again, as its sending was not seen to end, it is the same; another answer is not.
        event_id = f"airflow.{self.ticket}.{answer.at}"
        try:
            event, payload = answer.choice(self.seen.code), dict(answer.values) or None
            await run.send(event, payload, who=str(answer.by)[:200], event_id=event_id, visit=self.seen.asked)
        except Misuse as error:
            self.warn(f"what {answer.by} chose was not taken: {error}")

    async def _run(self, run: StateMachineRun) -> MachineStatus:
        left_s = await self._patience_s(run)
        shift = Shift(place=self.ticket, refused_visit=self.seen.refused_visit, patience_s=left_s)
        return await execute_machine(
            self.runtime.orchestrator,
            self.machine,
            workflow_id=self.run,
            params=self.params,
            intent=self.intent,
            on_event=self.on_event,
            shift=shift,
        )

    async def _patience_s(self, run: StateMachineRun) -> float | None:
        """For how much longer the action that was refused may be."""
        if self.seen.refused_at is None:
            return None
        with suppress(UnknownRun):
            task = self._task_at(await run.status())
            policies = self.team.policies.get(task.agent_type) if task is not None else None
            return patience_s(policies, self.seen.refused_at)
        return None

    def _task_at(self, status: MachineStatus) -> Task | None:
        """The action that the machine is at, without its input; None if it is at none."""
        with suppress(Misuse):
            action = self.machine.state(status.state).action
            return action.task(action_task_id(status.state, status.visit), {}) if action is not None else None
        return None

    async def _refused(self, refusal: Refused, visit: int, task: Task) -> Refusal:
        since = self.seen.refused_at if self.seen.refused_visit == visit else None
        wait = wait_of(refusal, team=self.team, task=task, ticket=self.ticket, first_refused_at=since)
        if wait.wait_for == "slot":
            await take_place(self.runtime.orchestrator, task, self.ticket)
        return Refusal(visit, wait)

    async def _outputs(self, run: StateMachineRun, status: MachineStatus) -> Ref:
        store = self.runtime.artifacts
        assert store is not None
        outputs: dict[str, JsonValue] = {}
        for state in self.machine.states:
            with suppress(MissingOutput):
                outputs[state.name] = await run.output(state.name)
        return await store.put({**status_document(status), "outputs": outputs})

    async def _question(self, run: StateMachineRun, status: MachineStatus) -> Question:
        """What a person has to know who decides: where the machine is, how it came there, what was done last."""
        last = await run.history(after=max(0, status.visit - 1 - _SHOWN_VISITS))
        taken = ", ".join(f"`{event}`" for event in status.events)
        where = f"in the state `{status.state}` (visit {status.visit})"
        lines = [f"The machine `{status.machine_name}` waits {where} for one of {taken}."]
        for visit in last:
            by = f" by {inline(visit.who)}" if visit.who else ""
            lines.append(f"- {visit.number}. `{visit.state}`: `{visit.trigger}`{by}, to `{visit.to}`")
        acted = [visit.state for visit in last if visit.result is not None and visit.trigger == "succeeded"]
        if acted:
            lines += ["", f"What `{acted[-1]}` gave:", "", await _shown(run, acted[-1])]
        send = f"coterie machine send {self.run} EVENT --visit {status.visit}"
        lines += ["", f"It can be answered elsewhere too: `{send}`. The first answer counts."]
        subject = f"{status.machine_name}: {status.state} (visit {status.visit})"
        # All that it takes anywhere: Airflow shows the options of the first question for ever.
        others = (event for state in self.machine.states for event in state.events)
        return Question(subject, tuple(dict.fromkeys((*status.events, *others))), "\n".join(lines))


async def _shown(run: StateMachineRun, state: str) -> str:
    try:
        return await run.shown_output(state)
    # Who is asked decides whether to decide without it.
    except (ArtifactError, MissingOutput) as error:
        return fenced(f"it cannot be read: {error}")


def status_document(status: MachineStatus) -> dict[str, Any]:
    """How a machine ended, for people and other DAGs, in less than 1 KiB."""
    document: dict[str, Any] = {
        "status": status.status,
        "workflow_id": status.workflow_id,
        "machine": status.machine_name,
        "state": status.state,
        "visit": status.visit,
    }
    error = status.error
    if error is None:
        return document
    told = {"type": error.type, "message": error.message}
    while told["message"] and len(json.dumps({**document, "error": told})) > MAX_STATUS_BYTES:
        told["message"] = told["message"][: len(told["message"]) // 2]
    return {**document, "error": told}
