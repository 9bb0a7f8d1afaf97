"""Every error that coterie raises, in one tree, by what the caller can do about it.

    CoterieError
    ├─ Misuse(ValueError)     the call, plan, policy or input is wrong: fix it, a retry cannot help
    │  ├─ PolicyError         a setting that cannot work
    │  ├─ PlanError           CycleFound, DuplicateTask, UnknownDependency
    │  ├─ MachineError        a state machine that cannot run: UnknownState
    │  ├─ IllegalTransition   a machine's state does not take the event, which changes nothing
    │  ├─ UnknownAgentType    nobody in the team serves the type
    │  ├─ UnknownAgent        a pool has no agent of that id
    │  ├─ UnknownObjective    no template is meant by it, or several are
    │  ├─ UnknownRun          the journal has no run of that id, or one of another kind
    │  ├─ NotAsked            nobody asks what is answered, or asks something else by now
    │  ├─ AlreadyDecided      somebody else has answered before
    │  ├─ AskedElsewhere      a scheduler asks, and is to be answered there
    │  ├─ NoDeadLetter        what is said to be undone by hand was not left to anybody
    │  ├─ PlanChanged         a run is to go on with another plan than it began with
    │  └─ MissingOutput       an output was asked of a task that has none
    ├─ Refused                not now: wait `retry_after_s` seconds, then ask again; no attempt was made
    │  ├─ BreakerOpen         the agent, or every agent of the type, is suspended
    │  ├─ QuotaSpent          the rate limit has no room within the time given
    │  ├─ PoolBusy            every slot is taken and the time to wait is over
    │  ├─ BudgetSpent         the window's tokens or money are used up
    │  ├─ NoLiveAgent         nobody serves the type at the moment
    │  └─ ClaimedElsewhere    another process is at the same work
    ├─ Final                  the work was tried and is over: a retry by the scheduler would only repeat it
    │  ├─ StepFailed          the agent failed; CommandFailed for a subprocess, ItemsFailed for a foreach,
    │  │                      AgentRejected for a remote agent that refused the request itself
    │  ├─ ApprovalRejected    a person said no
    │  ├─ TaskTimedOut        the agent, or the person, did not answer in time
    │  ├─ BudgetExhausted     the tokens or money of the run are used up
    │  ├─ CompensationFailed  a step of a run that failed was not undone
    │  └─ PlanRejected        a plan that a model made broke the rules to the end
    ├─ ArtifactError          MissingArtifact, CorruptArtifact, ForbiddenLocation
    ├─ AgentUnavailable       a remote agent did not answer, or cannot now: tried again by the task's own retry
    │  └─ AgentThrottled      it works, but is asked too often
    ├─ BadAnswer              a remote agent answered, but not what was promised
    ├─ LeaseLost              a slot was held too long, or given back before
    │  └─ StaleToken          somebody else holds it now, with a higher token; WorkTakenOver: does this work now
    ├─ StateFormatError       a stored state is of a version, or form, that this coterie does not read
    ├─ Diverged               an agent's steps are not those that its journal knows, and it was to be strict
    └─ Unavailable            a store failed (`__cause__` is the driver's error): try again later

Messages quote values with ``!r`` and end with the next step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "AgentRejected",
    "AgentThrottled",
    "AgentUnavailable",
    "AlreadyDecided",
    "ApprovalRejected",
    "ArtifactError",
    "AskedElsewhere",
    "BadAnswer",
    "BreakerOpen",
    "BudgetExhausted",
    "BudgetSpent",
    "ClaimedElsewhere",
    "CommandFailed",
    "CompensationFailed",
    "CorruptArtifact",
    "CoterieError",
    "CycleFound",
    "Diverged",
    "DuplicateTask",
    "Final",
    "ForbiddenLocation",
    "IllegalTransition",
    "ItemsFailed",
    "LeaseLost",
    "MachineError",
    "MissingArtifact",
    "MissingOutput",
    "Misuse",
    "NoDeadLetter",
    "NoLiveAgent",
    "NotAsked",
    "PlanChanged",
    "PlanError",
    "PlanRejected",
    "PolicyError",
    "PoolBusy",
    "QuotaSpent",
    "Refused",
    "StaleToken",
    "StateFormatError",
    "StepFailed",
    "TaskTimedOut",
    "Unavailable",
    "UnknownAgent",
    "UnknownAgentType",
    "UnknownDependency",
    "UnknownObjective",
    "UnknownRun",
    "UnknownState",
    "WorkTakenOver",
]


class CoterieError(Exception):
    """The root: catch it to catch everything that coterie raises on purpose."""


class Misuse(CoterieError, ValueError):
    """The call, plan, policy or input is wrong; the same call will fail again."""


class PolicyError(Misuse):
    """A setting that cannot work, refused on construction."""


class PlanError(Misuse):
    """A plan that cannot run."""


class CycleFound(PlanError):
    """Tasks that wait for each other. `path` starts and ends with the same task."""

    def __init__(self, path: Sequence[str]) -> None:
        self.path = tuple(path)
        super().__init__(f"tasks wait for each other: {' -> '.join(self.path)}; remove one of these dependencies")


class DuplicateTask(PlanError):
    """Two tasks of one plan share an id."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"two tasks are called {task_id!r}; task ids are unique within a plan: rename one")


class UnknownDependency(PlanError):
    """A task, condition, foreach or output names a task that the plan does not have."""

    def __init__(self, task_id: str, dependency: str, known: Iterable[str]) -> None:
        from difflib import get_close_matches

        self.task_id = task_id
        self.dependency = dependency
        others = [name for name in known if name != task_id]
        meant = get_close_matches(str(dependency)[:128], others, n=1)
        told = f"did you mean {meant[0]!r}?" if meant else f"known tasks: {_listed(others)}"
        super().__init__(f"{task_id!r} refers to the task {dependency!r}, which is not in the plan; {told}")


class MachineError(Misuse):
    """A state machine that cannot run."""


class UnknownState(MachineError):
    """A machine, or a state, names a state that it does not have, or that has no action where one is asked."""

    def __init__(self, where: str, state: str, known: Iterable[str]) -> None:
        from difflib import get_close_matches

        self.state = state
        self.known = tuple(known)
        meant = get_close_matches(str(state)[:128], self.known, n=1)
        told = f"did you mean {meant[0]!r}?" if meant else f"known states: {_listed(self.known)}"
        super().__init__(f"{where} {state!r}, which is none of the machine's states; {told}")


class IllegalTransition(Misuse):
    """No transition of a machine's state takes the event, or none of its guards holds; it changed nothing.

    state, visit: where the machine is, and how many states it had entered by then. events: what it takes there.
    """

    def __init__(
        self, machine: str, event: str, *, state: str, visit: int, why: str, events: Iterable[str] = ()
    ) -> None:
        self.event = event
        self.state = state
        self.visit = visit
        self.events = tuple(events)
        takes = _listed(self.events) if self.events else "nothing"
        super().__init__(
            f"the machine {machine!r} is in the state {state!r} (visit {visit}) and does not take the event {event!r}: "
            f"{why}; it takes: {takes}; the event changed nothing"
        )


class UnknownAgentType(Misuse):
    """Nobody in the team serves an agent type that a task, or policies, ask for.

    named_by: what names it, where that is no task: such as "the team's policies".
    """

    def __init__(
        self, agent_type: str, known: Iterable[str], *, task_id: str | None = None, named_by: str | None = None
    ) -> None:
        self.agent_type = agent_type
        self.known = tuple(sorted(known))
        self.task_id = task_id
        who = f"the task {task_id!r}" if task_id is not None else named_by
        super().__init__(
            f"no agent serves the type {agent_type!r}{f' (asked for by {who})' if who else ''}; "
            f"known types: {_listed(self.known)}; register an agent of that type or change {named_by or 'the task'}"
        )


class UnknownAgent(Misuse):
    """A pool, or a team, has nobody of that id. named_by: what names it."""

    def __init__(self, agent_id: str, known: Iterable[str], *, named_by: str | None = None) -> None:
        self.agent_id = agent_id
        self.known = tuple(sorted(known))
        asked, change = (f" (asked for by {named_by})", f", or change {named_by}") if named_by else ("", "")
        super().__init__(
            f"there is no agent {agent_id!r}{asked}; known agents: {_listed(self.known)}; register it first{change}"
        )


class UnknownObjective(Misuse):
    """No template fits an objective, or several fit it equally well; then those are `candidates`."""

    def __init__(self, objective: str, known: Iterable[str], *, candidates: Iterable[str] = ()) -> None:
        self.objective = objective
        self.known = tuple(sorted(known))
        self.candidates = tuple(sorted(candidates))
        what = f"may mean {_listed(self.candidates)}" if self.candidates else "fits no template"
        super().__init__(
            f"the objective {objective[:200]!r} {what}; known templates: {_listed(self.known)}; name one of them"
        )


class UnknownRun(Misuse):
    """The journal has no run of that id, in this namespace, or it is none of what is asked for; then that is `said`."""

    def __init__(self, workflow_id: str, where: str, *, said: str | None = None) -> None:
        self.workflow_id = workflow_id
        super().__init__(
            said
            or f"there is no run {workflow_id!r} in the journal {where!r}; list what there is with "
            "'coterie runs list', or name another namespace or store"
        )


class NotAsked(Misuse):
    """A task does not ask what is answered: it never did, asks something else by now, or is over."""


class AlreadyDecided(Misuse):
    """A person answered what somebody had answered before. That stands, and is `decision`, as JSON."""

    def __init__(self, task_id: str, decision: Mapping[str, object], *, at: str, run: str, rejected: bool) -> None:
        self.task_id = task_id
        again = f"coterie runs forget {run} {task_id}"
        if rejected:
            again = f"coterie runs resume {run}' asks again, once the run has ended; or '{again}"
        self.decision = decision
        super().__init__(
            f"{task_id!r} is decided: {decision['by']!r} chose {decision['choice']!r} at {at}, and the first answer "
            f"stands; to have it asked again: '{again}'"
        )


class AskedElsewhere(Misuse):
    """The question is asked on a scheduler, and is to be answered there. place: which; where: where in it."""

    def __init__(self, task_id: str, *, place: str, where: str) -> None:
        self.task_id = task_id
        self.place = place
        self.where = where
        super().__init__(
            f"{task_id!r} is asked by {place}, which does not look into the journal before it is answered there"
            f"{': ' + where if where else ''}; answer it there, or record the answer here anyway (--anyway, "
            "anyway=True): the task takes it when it is looked at next"
        )


class NoDeadLetter(Misuse):
    """No dead letter is about a task: it was undone, or needed no undoing, or somebody has settled it.

    left: what the letters of the run that are open are about. by: who has settled this one, if anybody has.
    """

    def __init__(self, workflow_id: str, task_id: str, *, left: Sequence[str] = (), by: str | None = None) -> None:
        self.workflow_id = workflow_id
        self.task_id = task_id
        self.left = tuple(left)
        self.by = by
        settled = "" if by is None else f", as {by or 'somebody'!r} has settled it"
        named, more = ", ".join(map(repr, self.left[:20])), len(self.left) - 20
        told = f"open are: {named}" + (f" and {more:,} more" if more > 0 else "") if self.left else "none is open"
        super().__init__(
            f"the run {workflow_id!r} has no dead letter about {task_id!r}{settled}; {told}; look with "
            f"'coterie runs show {workflow_id}'"
        )


class PlanChanged(Misuse):
    """A run is to go on, but the plan, or the state machine, is not the one that it began with."""

    def __init__(self, workflow_id: str, *, begun_with: str, given: str) -> None:
        self.workflow_id = workflow_id
        self.begun_with = begun_with
        self.given = given
        super().__init__(
            f"the run {workflow_id!r} began with {begun_with}, and is to go on with {given}; give it another id "
            "(workflow_id, --run-id), or allow the change (allow_changes=True, 'coterie machine run --allow-changes', "
            "'coterie runs resume --plan'): then what changed, and what follows from it, is run anew"
        )


class MissingOutput(Misuse):
    """An output was asked of a task that did not succeed, or is not upstream of the asking task."""


class Refused(CoterieError):
    """Not now. No attempt was made and none is counted; ask again after `retry_after_s` seconds.

    Schedulers wait for it (Airflow defers, Prefect awaits) without using up a retry.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class BreakerOpen(Refused):
    """The agent, or every agent of the type, is suspended. `breaker` names the circuit breaker, or the type."""

    def __init__(self, breaker: str, *, retry_after_s: float, state: str = "open", said: str | None = None) -> None:
        self.breaker = breaker
        self.state = state
        if said is None and state == "forced_open":
            said = (
                f"the circuit breaker {breaker!r} was forced open by hand; 'coterie breakers auto {breaker}' ends that"
            )
        said = said or f"the circuit breaker {breaker!r} is {state}"
        super().__init__(f"{said}; try again in {in_words(retry_after_s)}", retry_after_s=retry_after_s)


class QuotaSpent(Refused):
    """A rate limit has no room within the time that the caller would wait."""


class PoolBusy(Refused):
    """Every slot is taken, and the time that the caller would wait is over."""


class BudgetSpent(Refused):
    """The tokens or money of a window are used up; `retry_after_s` is when the window moves on."""


class NoLiveAgent(Refused):
    """Agents of the type are known or may come, but none is alive and healthy now."""


class ClaimedElsewhere(Refused):
    """Another process is at the same work; what it does will be there to be replayed. `owner` says who."""

    def __init__(self, what: str, *, owner: str, retry_after_s: float, instead: str | None = None) -> None:
        self.owner = owner
        step = instead or f"wait for it, or ask again in {retry_after_s:.3g} s"
        super().__init__(
            f"{owner or 'another process'} is at work on {what}; it has said so within the last moments: {step}",
            retry_after_s=retry_after_s,
        )


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


class ArtifactError(CoterieError):
    """Something is wrong with stored content."""


class MissingArtifact(ArtifactError):
    """A reference points at an object that is not there."""


class CorruptArtifact(ArtifactError):
    """An object's bytes are not what its reference says."""


class ForbiddenLocation(ArtifactError):
    """A reference points outside the configured artifact store."""


class AgentUnavailable(CoterieError):
    """The agent could not be reached, or said that it cannot work now; the task's `retry` tries again.

    status: the HTTP status, or None if no answer came. retry_after_s: what the agent asked for, or None.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(message)


class AgentThrottled(AgentUnavailable):
    """The agent is asked too often: it works, but not for us at the moment."""


class BadAnswer(CoterieError):
    """The agent answered, but not what was promised (no JSON, say); the task's `retry` tries again."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class LeaseLost(CoterieError):
    """A lease has ended: it expired, or was given back before. What it protected may be somebody else's by now."""


class StaleToken(LeaseLost):
    """A fencing token is not the newest: somebody else was granted the slot since."""


class WorkTakenOver(StaleToken):
    """Somebody else does this work by now, as this process seemed lost: what comes of it here is not recorded."""


class StateFormatError(CoterieError):
    """A stored state is of a version or form that this coterie does not read; nothing was changed."""


class Diverged(CoterieError):
    """A step of an agent is not the one that its journal has at that place, and it was to be strict."""


class Unavailable(CoterieError):
    """A store or service could not be reached; `__cause__` is the driver's error."""


def in_words(duration_s: float) -> str:
    """`0.5 s`, `90 s`, `32 min`, `5 h 3 min`, `2 d 4 h`: as messages have it."""
    if duration_s < 120:
        return f"{duration_s:.3g} s"
    minutes = round(duration_s / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def _listed(names: Iterable[str], limit: int = 20) -> str:
    every = sorted(names)
    shown = ", ".join(repr(name) for name in every[:limit]) or "none"
    return shown if len(every) <= limit else f"{shown} and {len(every) - limit} more"
