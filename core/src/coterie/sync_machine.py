"""State machines for code that cannot await: the blocking twins of `coterie.machine_run`, under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from coterie import machine_run, sync

if TYPE_CHECKING:
    from coterie._json import JsonValue
    from coterie._rules.machine_record import Visit
    from coterie._rules.machine_texts import Receipt
    from coterie.artifacts import ArtifactStore
    from coterie.events import Listener
    from coterie.ids import WorkflowId
    from coterie.journal import Intent, Journal
    from coterie.machine import StateMachine
    from coterie.machine_run import MachineStatus, Shift
    from coterie.orchestrator import Orchestrator
    from coterie.ports import StateStore

__all__ = ["StateMachineRun", "execute_machine"]


def execute_machine(
    orchestrator: Orchestrator,
    machine: StateMachine,
    *,
    workflow_id: WorkflowId | None = None,
    params: Mapping[str, JsonValue] | None = None,
    intent: Intent | None = None,
    on_event: Listener | None = None,
    shift: Shift | None = None,
) -> MachineStatus:
    """See `coterie.machine_run.execute_machine`."""
    return sync.run(
        machine_run.execute_machine(
            orchestrator,
            machine,
            workflow_id=workflow_id,
            params=params,
            intent=intent,
            on_event=on_event,
            shift=shift,
        )
    )


class StateMachineRun:
    """`coterie.StateMachineRun`, blocking."""

    def __init__(
        self,
        journal: Journal,
        workflow_id: WorkflowId,
        *,
        store: StateStore | None = None,
        artifacts: ArtifactStore | None = None,
    ) -> None:
        self._wrapped = machine_run.StateMachineRun(journal, workflow_id, store=store, artifacts=artifacts)

    @property
    def workflow_id(self) -> WorkflowId:
        """The run's id."""
        return self._wrapped.workflow_id

    def send(
        self,
        event: str,
        payload: object = None,
        *,
        who: str = "",
        event_id: str | None = None,
        visit: int | None = None,
    ) -> Receipt:
        """See `coterie.StateMachineRun.send`."""
        return sync.run(self._wrapped.send(event, payload, who=who, event_id=event_id, visit=visit))

    def cancel(self, *, who: str = "") -> bool:
        """See `coterie.StateMachineRun.cancel`."""
        return sync.run(self._wrapped.cancel(who=who))

    def status(self) -> MachineStatus:
        """See `coterie.StateMachineRun.status`."""
        return sync.run(self._wrapped.status())

    def history(self, *, after: int = 0, limit: int = 100) -> tuple[Visit, ...]:
        """See `coterie.StateMachineRun.history`."""
        return sync.run(self._wrapped.history(after=after, limit=limit))

    def output(self, state: str) -> JsonValue:
        """See `coterie.StateMachineRun.output`."""
        return sync.run(self._wrapped.output(state))

    def shown_output(self, state: str, *, most_bytes: int = 8192) -> str:
        """See `coterie.StateMachineRun.shown_output`."""
        return sync.run(self._wrapped.shown_output(state, most_bytes=most_bytes))

    def wait(self) -> MachineStatus:
        """See `coterie.StateMachineRun.wait`."""
        return sync.run(self._wrapped.wait())
