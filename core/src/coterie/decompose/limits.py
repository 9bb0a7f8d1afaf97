"""What a plan that nobody has read may do: the rules that a model's plan is held to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields

from coterie._json import canonical_bytes, content_size
from coterie._rules.saga_policy import SagaPolicy
from coterie.errors import Misuse, PlanError, PolicyError
from coterie.plan import Plan
from coterie.task import Task

__all__ = ["PlanLimits", "admit"]

_SHOWN_FAULTS = 10
# The document's frame: ids, types, dependencies and policies of one task.
_FRAME_BYTES = 8192


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """Bounds on a plan that a model made.

    max_depth: tasks on the longest path. max_fan_out: tasks that wait for one task, and items that a foreach
    lists itself. A foreach over an upstream list is as wide as that list: its source decides.
    max_input_bytes: a task's input, listed items and condition value together, as canonical JSON.
    max_timeout_s: what a task may ask for; a task that asks for nothing has its agent's own.
    """

    max_tasks: int = 50
    max_depth: int = 10
    max_fan_out: int = 20
    max_input_bytes: int = 16_384
    max_timeout_s: float = 3600.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) > 0:
                raise PolicyError(f"{limit.name} is {getattr(self, limit.name)!r}; give a number > 0")

    @property
    def max_document_bytes(self) -> int:
        """No admissible plan is longer, so that a longer document need not be looked at."""
        return self.max_tasks * (self.max_input_bytes + _FRAME_BYTES)


def admit(document: object, limits: PlanLimits, allowed: Collection[str]) -> Plan:
    """The plan that a model's document holds.

    allowed: the agent types that it may use.

    Raises:
        PlanError: it is no plan, or breaks rules; the message names up to ten faults, each with its remedy.
    """
    plan = _read(document, limits)
    faults = list(_faults(plan, limits, allowed))
    if faults:
        more = [f"and {len(faults) - _SHOWN_FAULTS} more"] if len(faults) > _SHOWN_FAULTS else []
        raise PlanError("; ".join([*faults[:_SHOWN_FAULTS], *more]))
    return plan


def _read(document: object, limits: PlanLimits) -> Plan:
    try:
        _check_length(document, limits.max_document_bytes)
        return Plan.from_dict(document)
    except RecursionError as error:
        raise PlanError("the plan is nested too deeply; flatten its inputs") from error
    except PlanError:
        raise
    except Misuse as error:
        raise PlanError(str(error)) from error


def _check_length(document: object, limit_bytes: int) -> None:
    # First the number of values, which is found without building anything as large again.
    most = limit_bytes // 2
    if content_size(document, most) > most or len(canonical_bytes(document)) > limit_bytes:
        raise PlanError(f"the plan is longer than {limit_bytes} bytes; write a smaller one")


def _faults(plan: Plan, limits: PlanLimits, allowed: Collection[str]) -> Iterator[str]:
    if len(plan.tasks) > limits.max_tasks:
        yield f"the plan has {len(plan.tasks)} tasks; use at most {limits.max_tasks}"
    depth = plan.graph.depth()
    if depth > limits.max_depth:
        yield f"{depth} tasks wait for each other in a row; use at most {limits.max_depth}"
    if plan.params:
        yield f"the plan declares the parameters {sorted(plan.params)!r}; write their values into the inputs"
    if plan.saga != SagaPolicy():
        yield "the plan says when it is undone; leave saga out"
    for task, dependents in zip(plan.tasks, plan.graph.dependents, strict=True):
        if len(dependents) > limits.max_fan_out:
            yield f"{len(dependents)} tasks wait for {task.id!r}; let at most {limits.max_fan_out} do so"
        yield from _task_faults(task, limits, allowed)


def _task_faults(task: Task, limits: PlanLimits, allowed: Collection[str]) -> Iterator[str]:
    if task.agent_type not in allowed:
        known = ", ".join(repr(name) for name in sorted(allowed))
        yield f"the task {task.id!r} asks for the agent type {task.agent_type!r}; a plan may use: {known}"
    items = task.foreach.items if task.foreach is not None and task.foreach.items is not None else ()
    if len(items) > limits.max_fan_out:
        yield f"the foreach of {task.id!r} lists {len(items)} items; list at most {limits.max_fan_out}"
    size = len(canonical_bytes([dict(task.input), list(items), task.when.value if task.when else None]))
    if size > limits.max_input_bytes:
        yield f"the input of {task.id!r} has {size} bytes; give at most {limits.max_input_bytes}"
    if task.timeout_s is not None and task.timeout_s > limits.max_timeout_s:
        yield f"timeout_s of {task.id!r} is {task.timeout_s:g}; give at most {limits.max_timeout_s:g}, or none"
    if task.retry is not None or task.priority:
        yield f"{task.id!r} sets a retry or a priority; leave them out, they belong to the team"
    if task.compensation is not None:
        yield f"{task.id!r} names a compensation; leave it out: what is undone, and by whom, is the team's affair"
    if task.approval is not None:
        yield f"{task.id!r} asks a person; leave approval out: who is asked, and what, is the team's affair"
