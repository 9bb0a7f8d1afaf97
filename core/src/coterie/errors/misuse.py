"""The call, plan, policy or input is wrong: fix it, a retry cannot help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from coterie.errors.root import CoterieError, listed

__all__ = [
    "AlreadyDecided",
    "AskedElsewhere",
    "CycleFound",
    "DuplicateTask",
    "IllegalTransition",
    "MachineError",
    "MissingOutput",
    "Misuse",
    "NoDeadLetter",
    "NotAsked",
    "PlanChanged",
    "PlanError",
    "PolicyError",
    "UnknownAgent",
    "UnknownAgentType",
    "UnknownDependency",
    "UnknownObjective",
    "UnknownRun",
    "UnknownState",
]


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
        told = f"did you mean {meant[0]!r}?" if meant else f"known tasks: {listed(others)}"
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
        told = f"did you mean {meant[0]!r}?" if meant else f"known states: {listed(self.known)}"
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
        takes = listed(self.events) if self.events else "nothing"
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
            f"known types: {listed(self.known)}; register an agent of that type or change {named_by or 'the task'}"
        )


class UnknownAgent(Misuse):
    """A pool, or a team, has nobody of that id. named_by: what names it."""

    def __init__(self, agent_id: str, known: Iterable[str], *, named_by: str | None = None) -> None:
        self.agent_id = agent_id
        self.known = tuple(sorted(known))
        asked, change = (f" (asked for by {named_by})", f", or change {named_by}") if named_by else ("", "")
        super().__init__(
            f"there is no agent {agent_id!r}{asked}; known agents: {listed(self.known)}; register it first{change}"
        )


class UnknownObjective(Misuse):
    """No template fits an objective, or several fit it equally well; then those are `candidates`."""

    def __init__(self, objective: str, known: Iterable[str], *, candidates: Iterable[str] = ()) -> None:
        self.objective = objective
        self.known = tuple(sorted(known))
        self.candidates = tuple(sorted(candidates))
        what = f"may mean {listed(self.candidates)}" if self.candidates else "fits no template"
        super().__init__(
            f"the objective {objective[:200]!r} {what}; known templates: {listed(self.known)}; name one of them"
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
