"""The work was tried and is over: a retry by the scheduler would only repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coterie.errors.root import CoterieError

__all__ = [
    "AgentRejected",
    "ApprovalRejected",
    "BudgetExhausted",
    "CommandFailed",
    "CompensationFailed",
    "Final",
    "ItemsFailed",
    "PlanRejected",
    "StepFailed",
    "TaskTimedOut",
]


class Final(CoterieError):
    """The work was tried, by the rules given, and is over. Schedulers must not repeat it by themselves."""


class StepFailed(Final):
    """An agent failed; raise it in an agent to say that trying again is useless."""


class CommandFailed(StepFailed):
    """A command agent ended with an error. `exit_code` is negative for a signal, as in `subprocess`."""

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class ItemsFailed(StepFailed):
    """More items of a foreach failed than it tolerates; the results of the others are kept."""


class AgentRejected(StepFailed):
    """The agent refused the request itself: the same request will be refused again. `status` says how."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class ApprovalRejected(Final):
    """A person said no; the message names who, when, and their note. `decision` is the whole of it, as JSON."""

    def __init__(self, task_id: str, decision: Mapping[str, object], *, at: str) -> None:
        self.task_id = task_id
        self.decision = decision
        note = f": {decision['note']}" if decision.get("note") else ""
        super().__init__(f"{task_id!r} was answered {decision['choice']!r} by {decision['by']!r} at {at}{note}")


class TaskTimedOut(Final):
    """An attempt did not end, or a person did not answer, within `timeout_s` seconds."""

    def __init__(self, task_id: str, timeout_s: float, *, said: str | None = None) -> None:
        self.task_id = task_id
        self.timeout_s = timeout_s
        super().__init__(
            said or f"the task {task_id!r} did not end within {timeout_s:g} s; raise its timeout_s or make it smaller"
        )


class BudgetExhausted(Final):
    """The tokens or money of a run are used up: no waiting brings them back."""


class CompensationFailed(Final):
    """A step of a run that failed was not undone. `letter` says how to; `DeadLetter.from_dict` reads it.

    run: the run's id, if a journal keeps what is left of it: then the message names what to type.
    """

    def __init__(self, task_id: str, why: str, *, letter: Mapping[str, object], run: str | None = None) -> None:
        self.task_id = task_id
        self.letter = letter
        following = (
            "undo it by hand, as no journal has it for later"
            if run is None
            else f"have the run go on with 'coterie runs resume {run}', or undo it by hand and say so with "
            f"'coterie runs settle {run} {task_id}'"
        )
        super().__init__(f"the step {task_id!r} was not undone: {why}; {following}")


class PlanRejected(Final):
    """A model's plan broke the rules in every allowed attempt. `reasons` holds one reason an attempt."""

    def __init__(self, message: str, *, reasons: Sequence[str] = ()) -> None:
        self.reasons = tuple(reasons)
        super().__init__(message)
