"""State machines that run: durable, in whatever process is at hand, and told of events from anywhere."""

from coterie._rules.machine_record import Visit
from coterie._rules.machine_texts import Receipt
from coterie.machine_run.driver import execute_machine
from coterie.machine_run.handle import StateMachineRun
from coterie.machine_run.shift import Shift
from coterie.machine_run.status import MachineStatus

__all__ = ["MachineStatus", "Receipt", "Shift", "StateMachineRun", "Visit", "execute_machine"]
