"""A machine's actions as task runs: an orchestrator that shows on the server what it is asked to do."""

# ruff: noqa: ARG001

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.logging import get_run_logger
from prefect.states import Cancelled
from prefect.utilities.annotations import opaque

from coterie import JsonValue, MachineStatus, Orchestrator, Plan, StateMachine, StateMachineRun, Task, TaskResult
from coterie.errors import Unavailable, UnknownRun
from coterie.events import Event
from coterie.ids import TaskId, WorkflowId
from coterie.journal import Intent
from coterie.machine_run import execute_machine
from prefect_coterie.policy import OPTIONS
from prefect_coterie.record import read_record
from prefect_coterie.tasks import Outcome, returned

if TYPE_CHECKING:
    from prefect import Task as PrefectTask
    from prefect.client.schemas.objects import State, TaskRun

    from coterie.trail import Lap, Trail

__all__ = ["ShownOrchestrator"]


def _store_was_away(task: PrefectTask[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whoever runs a machine deals with work that was taken over itself."""
    return isinstance(state.data, Unavailable)


@task(name="coterie-action", task_run_name="{title}", **{**OPTIONS, "retry_condition_fn": _store_was_away})
async def perform_action(title: str, work: Callable[[], Awaitable[TaskResult]]) -> Outcome:
    """Perform the action of one visit of a state. One that the machine ends is no crash."""
    try:
        return returned(await work())
    except asyncio.CancelledError:
        return Cancelled(message="the machine has left the state, or is not run here any more")


class ShownOrchestrator(Orchestrator):
    """The same orchestrator as the one given, with the same agents; each task is a task run of the surrounding flow."""

    def __init__(self, shared: Orchestrator) -> None:
        # Of one object, with two faces: whatever changes in it changes for both.
        self.__dict__ = shared.__dict__

    async def execute_machine(
        self,
        machine: StateMachine,
        *,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        intent: Intent | None = None,
    ) -> MachineStatus:
        """See `Orchestrator.execute_machine`; the flow run's log says where it goes from here on."""
        since = await self._visit_of(workflow_id)

        def heard(event: Event) -> None:
            if self._listener is not None:
                self._listener(event)
            if event.fields["visit"] >= since:
                get_run_logger().info("%s", _moved(event.fields))

        with self._call():
            return await execute_machine(
                self, machine, workflow_id=workflow_id, params=params, intent=intent, on_event=heard
            )

    async def _visit_of(self, workflow_id: WorkflowId | None) -> int:
        """At which visit a machine is; 1 if it has not begun."""
        if workflow_id is None or self.keeping is None:
            return 1
        with suppress(UnknownRun):
            return (await StateMachineRun(self.keeping.journal, workflow_id).status()).visit
        return 1

    async def execute_task(
        self,
        task: Task,
        *,
        upstream: Mapping[TaskId, TaskResult] | None = None,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        epoch: int = 0,
        waits: bool = True,
        patience_s: float | None = None,
        place: str | None = None,
        plan: Plan | None = None,
        intent: Intent | None = None,
        instance: str | None = None,
        correlation_id: str | None = None,
        called_by: str | None = None,
        lap: Lap | None = None,
        trail: Trail | None = None,
        alone: bool = False,
    ) -> TaskResult:
        """See `Orchestrator.execute_task`."""
        work = partial(
            super().execute_task,
            task,
            upstream=upstream,
            workflow_id=workflow_id,
            params=params,
            epoch=epoch,
            waits=waits,
            patience_s=patience_s,
            place=place,
            plan=plan,
            intent=intent,
            instance=instance,
            correlation_id=correlation_id,
            called_by=called_by,
            lap=lap,
            trail=trail,
            alone=alone,
        )
        call: Callable[..., Any] = perform_action
        state: State[Any] = await call(task.id, opaque(work), return_state=True)
        found = await read_record(state)
        if isinstance(found, BaseException):
            # Said to the server first.
            raise asyncio.CancelledError if state.is_cancelled() else found
        return TaskResult.from_dict(found)


def _moved(fields: Mapping[str, Any]) -> str:
    by = f" by {fields['who']}" if fields["who"] else ""
    to = f", to {fields['to']}" if fields["to"] is not None else ""
    return f"visit {fields['visit']}: {fields['state']}, {fields['trigger']}{by}{to}"
