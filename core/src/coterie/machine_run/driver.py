"""Run a machine in this process: perform its actions, and wait for events and time-outs in between.

Any number of processes may run one machine. Each action is claimed in the journal, so that one of them performs it; its
end is recorded there before the machine moves on, so that a process that takes over finds what was finished.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

from coterie._json import JsonValue
from coterie._rules.machine import Ended, Look
from coterie._rules.machine_record import Head
from coterie._rules.params import param_names
from coterie.errors import ArtifactError, LeaseLost, Misuse, Unavailable, UnknownAgentType
from coterie.events import Event, Listener
from coterie.ids import WorkflowId, new_workflow_id
from coterie.journal import Intent
from coterie.journal.bell import Bell, until_rung
from coterie.machine import StateMachine
from coterie.machine_run.carried import action_input, loaded
from coterie.machine_run.file import Definition, MachineFile, action_task_id
from coterie.machine_run.handle import look_pause_s
from coterie.machine_run.shift import Shift
from coterie.machine_run.status import MachineStatus, due_s, status_of
from coterie.machine_run.traced import trace_end, within_span
from coterie.result import ErrorInfo, TaskResult
from coterie.state import Action
from coterie.task import Task
from coterie.workplace import unharming

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coterie.orchestrator import Orchestrator

__all__ = ["execute_machine"]

_log = logging.getLogger("coterie.machine")


async def execute_machine(
    orchestrator: Orchestrator,
    machine: StateMachine,
    *,
    workflow_id: WorkflowId | None = None,
    params: Mapping[str, JsonValue] | None = None,
    intent: Intent | None = None,
    on_event: Listener | None = None,
    shift: Shift | None = None,
) -> MachineStatus:
    """Run a machine until it is over, from wherever it is: a failure is in the result, not raised.

    on_event: told of each visit that is left, once (`machine.moved`), also of those that were left before;
    what it raises is logged, and changes nothing.
    shift: for a process that does not wait: it returns as soon as only an event or a time-out leads on, which the
    status says then.

    Cancelled, it ends the action that it performs; the machine stays where it is, and may be run on, here or elsewhere.

    Raises:
        Misuse: the orchestrator has no journal, or an undeclared parameter. UnknownAgentType: nobody here serves an
            action; nothing has run. PlanChanged, MachineError: the run began with another definition.
        Unavailable: the journal failed; what had happened is recorded.
        Refused, ClaimedElsewhere: an action cannot be performed now, or another process performs it; only in a `shift`.
    """
    if orchestrator.keeping is None:
        raise Misuse(
            f"the machine {machine.name!r} needs a journal to keep its state in; "
            "make the orchestrator with Orchestrator(team, journal=Journal(...))"
        )
    served = {agent.agent_type for agent in orchestrator.get_status().agents}
    for state in machine.states:
        if state.action is not None and state.action.agent_type not in served:
            raise UnknownAgentType(state.action.agent_type, served, task_id=state.name)
    journal = orchestrator.keeping.journal
    run = workflow_id if workflow_id is not None else new_workflow_id(int(journal.clock.now() * 1000))
    file = MachineFile(journal, run)
    head = await file.begin(Definition(machine, machine.bind(params)), intent or Intent())
    driver = _Driver(orchestrator, file, intent or Intent(), on_event, shift)
    # A scheduler's worker has a span of its own for each turn.
    with within_span(file) if shift is None else nullcontext():
        return await driver.drive(head)


class _Driver:
    """One process that runs a machine."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        file: MachineFile,
        intent: Intent,
        on_event: Listener | None,
        shift: Shift | None,
    ) -> None:
        self._orchestrator = orchestrator
        self._file = file
        self._intent = intent
        self._on_event = unharming(on_event)
        self._shift = shift
        self._away = False
        self._told = 0
        self._bell = Bell(file.journal.store, file.run, orchestrator.pipeline.store)

    async def drive(self, head: Head) -> MachineStatus:
        async with self._bell.heard() as rung:
            while not await self._is_done(head):
                await self._tell(head)
                head = await (self._act(head, rung) if head.phase == "acting" else self._wait(head, rung))
        await trace_end(self._file, head)
        await self._tell(head)
        _, now = await self._file.head()
        return status_of(self._file.run, (await self._file.definition(head.version)).machine, head, now)

    async def _is_done(self, head: Head) -> bool:
        """Whether there is nothing more to do here: the machine is over, or this process does not wait."""
        if head.phase != "waiting" or self._shift is None:
            return head.phase == "over"
        # Looked at once: what is due is done here.
        return not _has_moved((await self._look(head))[0], head)

    async def _wait(self, head: Head, rung: asyncio.Event) -> Head:
        """Until the machine is at another visit, or over."""
        while True:
            rung.clear()
            seen, left_s = await self._look(head)
            if _has_moved(seen, head):
                return seen
            await until_rung(rung, _pause_s(left_s))

    async def _act(self, head: Head, rung: asyncio.Event) -> Head:
        """Perform the action of a visit, unless the machine moves on before."""
        work = asyncio.create_task(self._perform(head), name=f"coterie-machine-{self._file.run}-{head.visit}")
        moved = asyncio.create_task(self._wait(head, rung))
        try:
            await asyncio.wait({work, moved}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(moved, work)
        if not moved.cancelled() and moved.exception() is None:
            return moved.result()
        if work.cancelled():
            moved.result()
            # The orchestrator is being stopped.
            raise asyncio.CancelledError
        try:
            how, value, result = work.result()
        except LeaseLost as error:
            _log.info("machine.action_lost %s: another process performs it: %s", self._file.run, error)
            return (await self._file.head())[0]
        answer = await self._file.ask(Ended(head.visit, how, value, result))
        await self._bell.ring()
        assert answer.head is not None
        return answer.head

    async def _look(self, head: Head) -> tuple[Head, float | None]:
        """Where the machine is, once what is due was done; and for how many seconds nothing will be."""
        try:
            seen, now = await self._file.head()
            left_s = due_s(seen, now)
            if left_s == 0 and not _has_moved(seen, head):
                answer = await self._file.ask(Look())
                await self._bell.ring()
                assert answer.head is not None
                seen = answer.head
        except Unavailable as error:
            # Looked at again soon: an action that runs is not ended for it, and whoever waits for days goes on waiting.
            if not self._away:
                _log.warning("machine.journal_away %s: looked at again until it answers: %s", self._file.run, error)
            self._away = True
            return head, None
        self._away = False
        return seen, left_s

    async def _perform(self, head: Head) -> tuple[Literal["succeeded", "failed"], JsonValue, dict[str, Any]]:
        """How the action ended: what guards are asked about, and what is kept of it."""
        definition = await self._file.definition(head.version)
        state = definition.machine.state(head.state)
        assert state.action is not None
        try:
            task, params = await self._task(head, state.action, definition)
        # An input that cannot be made is the action's failure, as a task's is the task's.
        except (Misuse, ArtifactError) as error:
            return _failed(ErrorInfo.of(error), {"attempts": 0})
        shift = self._shift
        result = await self._orchestrator.execute_task(
            task,
            workflow_id=self._file.run,
            params=params,
            intent=self._intent,
            waits=shift is None,
            patience_s=shift.patience_at(head.visit) if shift is not None else None,
            place=shift.place if shift is not None else None,
        )
        kept = {"attempts": result.attempts, "agent_id": result.agent_id, "duration_s": round(result.duration_s, 6)}
        if result.state != "succeeded":
            return _failed(result.error or ErrorInfo("StepFailed", f"it ended {result.state}"), kept)
        guarded = any(way.conditions for way in definition.machine.table.ways.get((head.state, "succeeded"), ()))
        value = await self._value(result) if guarded else None
        return "succeeded", value, {"state": "succeeded", **kept}

    async def _task(self, head: Head, action: Action, definition: Definition) -> tuple[Task, dict[str, JsonValue]]:
        """The task of one visit, and the parameters that it is given."""
        params, artifacts = dict(definition.params), self._orchestrator.artifacts
        filled = await action_input(self._file, head, action, params, artifacts)
        if param_names(filled):
            # What an agent or a person wrote looks like a reference: it is passed as a value, where nobody reads it so.
            params |= {f"input/{name}": value for name, value in filled.items()}
            filled = {name: {"$param": f"input/{name}"} for name in filled}
        return action.task(action_task_id(head.state, head.visit), filled), params

    async def _tell(self, head: Head) -> None:
        """Of the visits that were left since."""
        if self._on_event is None:
            return
        for left in await self._file.visits(self._told + 1, head.visit):
            fields = {
                "state": left.state,
                "trigger": left.trigger,
                "to": left.to,
                "visit": left.number,
                "who": left.who,
                "error": "" if left.error is None else str(left.error),
            }
            self._on_event(Event("machine.moved", self._file.run, None, fields))
            self._told = left.number

    async def _value(self, result: TaskResult) -> JsonValue:
        return await loaded(result.output, self._orchestrator.artifacts)


def _failed(error: ErrorInfo, kept: dict[str, Any]) -> tuple[Literal["failed"], JsonValue, dict[str, Any]]:
    told: dict[str, JsonValue] = {"type": error.type, "message": error.message}
    return "failed", told, {"state": "failed", "error": told, **kept}


def _has_moved(seen: Head, head: Head) -> bool:
    return seen.visit != head.visit or seen.phase != head.phase


def _pause_s(left_s: float | None) -> float:
    """A moment longer than is left: what is due then is due."""
    return look_pause_s() if left_s is None else min(look_pause_s(), left_s + 0.001)


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel what still runs, and wait for it; also when this is cancelled meanwhile, which is raised then."""
    running, cancelled = {task for task in tasks if not task.done()}, None
    for task in running:
        task.cancel()
    while running:
        try:
            _, running = await asyncio.wait(running)
        except asyncio.CancelledError as error:
            cancelled = error
            for task in running:
                task.cancel()
    if cancelled is not None:
        raise cancelled
