"""Where a machine is, and how it ended: what people and callers are told."""

from __future__ import annotations

from dataclasses import dataclass

from coterie._rules.machine_record import EndStatus, Head, Phase
from coterie._rules.status import EXIT_CODES
from coterie._rules.timeline import SECOND, moment
from coterie.errors import Misuse, StepFailed
from coterie.ids import WorkflowId
from coterie.machine import StateMachine
from coterie.result import ErrorInfo

__all__ = ["MachineStatus", "due_s", "status_of"]


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """A machine at one moment.

    visit: how many states it has entered, this one included. entered_at: when this one, in seconds since the epoch, on
    the store's clock. phase: `acting`, `waiting` or `over`. events: what it takes here. timeout_in_s: how long until
    its time-out; None if there is none. overdue_s: for how long that has been due, and nobody has taken it. status,
    error: how it ended, once it is over.
    """

    workflow_id: WorkflowId
    machine_name: str
    machine_hash: str
    state: str
    visit: int
    entered_at: float
    phase: Phase
    events: tuple[str, ...] = ()
    timeout_in_s: float | None = None
    status: EndStatus | None = None
    error: ErrorInfo | None = None
    overdue_s: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 succeeded, 1 failed, 130 cancelled.

        Raises:
            Misuse: it is not over.
        """
        if self.status is None:
            raise Misuse(f"the machine {self.machine_name!r} is in the state {self.state!r}; wait until it is over")
        return EXIT_CODES[self.status]

    def raise_for_status(self) -> None:
        """Do nothing if the machine succeeded, or is not over.

        Raises:
            StepFailed: it failed, or was cancelled; the message names the state.
        """
        if self.status in ("failed", "cancelled"):
            why = f": {self.error}" if self.error is not None else ""
            raise StepFailed(f"the machine {self.machine_name!r} ended {self.status} in the state {self.state!r}{why}")


def status_of(workflow_id: WorkflowId, machine: StateMachine, head: Head, now: int) -> MachineStatus:
    """What a head says at `now`, in microseconds on the store's clock."""
    known = machine.table.states.get(head.state)
    return MachineStatus(
        workflow_id,
        machine.name,
        head.version,
        head.state,
        head.visit,
        head.entered / SECOND,
        head.phase,
        known.events if known is not None and head.phase != "over" else (),
        due_s(head, now),
        head.status,
        ErrorInfo(head.error.type, head.error.message) if head.error is not None else None,
        max(0.0, -_left_s(head, now)) if head.due is not None else 0.0,
    )


def due_s(head: Head, now: int) -> float | None:
    """Seconds until the time-out of the visit; 0 if it is due, None if there is none."""
    return None if head.due is None else max(0.0, _left_s(head, now))


def _left_s(head: Head, now: int) -> float:
    """The same; less than 0 once it is due."""
    return ((head.due or 0) - moment({**head.time.stamp()}, now).at) / SECOND
