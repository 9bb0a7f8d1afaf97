"""Every error that coterie raises, in one tree, by what the caller can do about it.

    CoterieError
    ├─ Misuse(ValueError)     the call, plan, policy or input is wrong: fix it, a retry cannot help
    │  ├─ PolicyError         a setting that cannot work
    │  ├─ PlanError           CycleFound, DuplicateTask, UnknownDependency
    │  ├─ UnknownAgentType    nobody in the team serves the type
    │  ├─ UnknownObjective    no template is meant by it, or several are
    │  └─ MissingOutput       an output was asked of a task that has none
    ├─ Final                  the work was tried and is over: a retry by the scheduler would only repeat it
    │  ├─ StepFailed          the agent failed; CommandFailed for a subprocess, ItemsFailed for a foreach
    │  ├─ TaskTimedOut        the agent did not answer in time
    │  └─ PlanRejected        a plan that a model made broke the rules to the end
    ├─ ArtifactError          MissingArtifact, CorruptArtifact, ForbiddenLocation
    └─ Unavailable            a store failed (`__cause__` is the driver's error): try again later

Messages quote values with ``!r`` and end with the next step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = [
    "ArtifactError",
    "CommandFailed",
    "CorruptArtifact",
    "CoterieError",
    "CycleFound",
    "DuplicateTask",
    "Final",
    "ForbiddenLocation",
    "ItemsFailed",
    "MissingArtifact",
    "MissingOutput",
    "Misuse",
    "PlanError",
    "PlanRejected",
    "PolicyError",
    "StepFailed",
    "TaskTimedOut",
    "Unavailable",
    "UnknownAgentType",
    "UnknownDependency",
    "UnknownObjective",
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


class UnknownAgentType(Misuse):
    """Nobody in the team serves an agent type that a task asks for."""

    def __init__(self, agent_type: str, known: Iterable[str], *, task_id: str | None = None) -> None:
        self.agent_type = agent_type
        self.known = tuple(sorted(known))
        self.task_id = task_id
        of = f" (asked for by the task {task_id!r})" if task_id is not None else ""
        super().__init__(
            f"no agent serves the type {agent_type!r}{of}; known types: {_listed(self.known)}; "
            "register an agent of that type or change the task"
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


class MissingOutput(Misuse):
    """An output was asked of a task that did not succeed, or is not upstream of the asking task."""


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


class TaskTimedOut(Final):
    """An attempt did not end within `timeout_s` seconds."""

    def __init__(self, task_id: str, timeout_s: float) -> None:
        self.task_id = task_id
        self.timeout_s = timeout_s
        super().__init__(
            f"the task {task_id!r} did not end within {timeout_s:g} s; raise its timeout_s or make it smaller"
        )


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


class Unavailable(CoterieError):
    """A store or service could not be reached; `__cause__` is the driver's error."""


def _listed(names: Iterable[str], limit: int = 20) -> str:
    every = sorted(names)
    shown = ", ".join(repr(name) for name in every[:limit]) or "none"
    return shown if len(every) <= limit else f"{shown} and {len(every) - limit} more"
