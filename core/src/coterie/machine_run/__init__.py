"""State machines that run: durable, in whatever process is at hand, and told of events from anywhere."""

from coterie.machine_run.driver import execute_machine
from coterie.machine_run.handle import StateMachineRun
from coterie.machine_run.status import MachineStatus

__all__ = ["MachineStatus", "StateMachineRun", "execute_machine"]
