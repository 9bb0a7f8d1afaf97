"""One unit of work for one agent type, and the policies that belong to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from coterie._json import JsonValue, require_json
from coterie.approval import Approval
from coterie.errors import Misuse, PolicyError
from coterie.ids import AgentType, TaskId, check_name, content_hash

__all__ = [
    "Compensation",
    "ForEach",
    "Placement",
    "Retry",
    "Task",
    "TriggerRule",
    "Undoable",
    "When",
    "checked_comparison",
]

TriggerRule = Literal["all_success", "all_done", "one_success", "none_failed"]
Operator = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "exists"]
# Which of a run's steps a compensation is for: those that succeeded, or all that began.
Undoable = Literal["succeeded", "started"]
# Who performs a task: a worker, the process that runs the plan, or whoever the team says.
Placement = Literal["remote", "local"]

_TRIGGER_RULES = get_args(TriggerRule)
_OPERATORS = get_args(Operator)
_UNDOABLE = get_args(Undoable)
_PLACEMENTS = get_args(Placement)
# What a task has no use for that a person does.
_NOT_OF_PEOPLE = ("retry", "foreach", "compensation", "timeout_s", "placement")
# As `check_name` allows.
MAX_NAME_CHARS = 128


# Read by pydantic when a plan document is validated: an unknown field is an error, not a silent no-op.
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Try again after a failure: at most `max_attempts` times in all, with full-jitter back-off.

    The wait before attempt n + 1 is uniform between 0 and min(cap_s, base_s * 2 ** (n - 1)) seconds.
    Source: Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """

    __pydantic_config__ = _STRICT

    max_attempts: int = 3
    base_s: float = 0.5
    cap_s: float = 30.0

    def __post_init__(self) -> None:
        waits = _is_number(self.base_s) and _is_number(self.cap_s) and 0 <= self.base_s <= self.cap_s < float("inf")
        if type(self.max_attempts) is not int or self.max_attempts < 1 or not waits:
            raise PolicyError(
                f"retry needs a whole number max_attempts >= 1 and seconds 0 <= base_s <= cap_s, got {self!r}"
            )
        # 1 and 1.0 are the same wait: they must give the plan the same hash.
        object.__setattr__(self, "base_s", float(self.base_s))
        object.__setattr__(self, "cap_s", float(self.cap_s))


@dataclass(frozen=True, slots=True)
class When:
    """Run only if the value at `pointer` in the output of `task` compares with `value`; else skip.

    `pointer` is a JSON pointer (RFC 6901). Where nothing lies there, every operator is false;
    `exists` compares nothing else. If `task` itself did not succeed, the condition is false.
    """

    __pydantic_config__ = _STRICT

    task: TaskId
    pointer: str = ""
    op: Operator = "exists"
    value: JsonValue = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", checked_comparison(self.pointer, self.op, self.value, what="when"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ForEach:
    """Run the task once for each item of a list: of an upstream output, or given here as `items`.

    task, pointer: where the list lies (a JSON pointer into that task's output).
    key: a JSON pointer into an item that names it; else its content does.
    bind: the input field that receives the item.
    tolerate_failures: how many items may fail, as a count (int) or a share of all (float, 0 to 1).
    """

    __pydantic_config__ = _STRICT

    task: TaskId | None = None
    pointer: str = ""
    items: Sequence[JsonValue] | None = None
    key: str | None = None
    bind: str = "item"
    tolerate_failures: int | float = 0

    def __post_init__(self) -> None:
        if (self.task is None) == (self.items is None):
            raise PolicyError("foreach needs either task (an upstream list) or items (a list), not both")
        _check_pointer(self.pointer, "foreach")
        if self.key is not None:
            _check_pointer(self.key, "foreach key")
        limit = self.tolerate_failures
        if not _is_number(limit) or not limit >= 0 or (isinstance(limit, float) and not limit <= 1):
            raise PolicyError(f"tolerate_failures is a count (int) or a share from 0.0 to 1.0, got {limit!r}")
        if not isinstance(self.bind, str) or not self.bind:
            raise PolicyError(f"foreach has bind {self.bind!r}; name the input field that receives the item")
        if isinstance(self.items, (str, bytes, Mapping)):
            raise PolicyError(f"foreach has the items {str(self.items)[:200]!r}; give a list")
        if self.items is not None:
            object.__setattr__(self, "items", tuple(require_json(list(self.items), "foreach items")))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Compensation:
    """How what a task did is undone, should its run fail.

    agent_type: who undoes it; reads the task's output as that of a task before it.
    input: a JSON object, parameters as in a task's.
    when: "succeeded": if the task succeeded (a foreach: if any of its items did). "started": also if it failed, ran out
    of time, or its process died in it: for effects that may have happened, by an agent that bears to find none.

    Raises:
        Misuse: a type that cannot be a name, input that is not JSON, a policy that cannot work.
    """

    __pydantic_config__ = _STRICT

    agent_type: AgentType
    input: Mapping[str, JsonValue] = field(default_factory=dict, kw_only=True)
    timeout_s: float | None = field(default=None, kw_only=True)
    retry: Retry | None = field(default=None, kw_only=True)
    when: Undoable = field(default="succeeded", kw_only=True)

    def __post_init__(self) -> None:
        what = f"the compensation by {self.agent_type!r}"
        check_name(self.agent_type, "agent type of a compensation")
        object.__setattr__(self, "input", _input(self.input, what))
        object.__setattr__(self, "timeout_s", _timeout_s(self.timeout_s, what))
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise Misuse(f"retry of {what} is {self.retry!r}; pass a Retry")
        if self.when not in _UNDOABLE:
            raise PolicyError(f"{what} has when={self.when!r}; use one of {', '.join(_UNDOABLE)}")


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work for one agent type.

    input: a JSON object; `{"$param": "name"}` anywhere in it is replaced by the run's parameter.
    timeout_s: seconds that one attempt may take; None leaves it to the agent's own policy.
    priority: among tasks that wait for the same agents, higher ones start first.
    compensation: how it is undone if the run fails.
    approval: what a person is asked; then `agent_type` is the role that answers, and no agent serves it.
    placement: "remote": a worker performs it; "local": the process that runs the plan does; None: as the team says.

    Raises:
        Misuse: an id or type that cannot be a name, input that is not JSON, a policy that cannot work.
    """

    __pydantic_config__ = _STRICT

    id: TaskId
    agent_type: AgentType
    input: Mapping[str, JsonValue] = field(default_factory=dict, kw_only=True)
    depends_on: tuple[TaskId, ...] = field(default=(), kw_only=True)
    trigger_rule: TriggerRule = field(default="all_success", kw_only=True)
    timeout_s: float | None = field(default=None, kw_only=True)
    retry: Retry | None = field(default=None, kw_only=True)
    priority: int = field(default=0, kw_only=True)
    when: When | None = field(default=None, kw_only=True)
    foreach: ForEach | None = field(default=None, kw_only=True)
    compensation: Compensation | None = field(default=None, kw_only=True)
    approval: Approval | None = field(default=None, kw_only=True)
    placement: Placement | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_name(self.id, "task id")
        check_name(self.agent_type, f"agent type of {self.id!r}")
        if self.trigger_rule not in _TRIGGER_RULES:
            raise PolicyError(
                f"{self.id!r} has the trigger rule {self.trigger_rule!r}; use one of {', '.join(_TRIGGER_RULES)}"
            )
        if self.timeout_s is not None:
            object.__setattr__(self, "timeout_s", _timeout_s(self.timeout_s, repr(self.id)))
        if type(self.priority) is not int:
            raise PolicyError(f"priority of {self.id!r} is {self.priority!r}; give a whole number, higher goes first")
        if self.placement is not None and self.placement not in _PLACEMENTS:
            raise PolicyError(f"{self.id!r} has the placement {self.placement!r}; use 'remote' or 'local', or neither")
        plain = self.retry is None and self.when is None and self.approval is None
        if not (plain and self.foreach is None and self.compensation is None):
            _check_parts(self)
        if self.input != {}:
            object.__setattr__(self, "input", _input(self.input, repr(self.id)))
        object.__setattr__(self, "depends_on", _names(self.depends_on, self.id))

    @property
    def undo_id(self) -> TaskId:
        """What its compensation is called: in the journal, in events, and in what its agent is told."""
        name = f"undo-{self.id}"
        return name if len(name) <= MAX_NAME_CHARS else f"{name[:90]}-{content_hash(self.id)[:32]}"

    @property
    def upstream(self) -> tuple[TaskId, ...]:
        """Every task that this one waits for: `depends_on`, and those its foreach and condition read."""
        if self.foreach is None and self.when is None:
            return self.depends_on
        read: list[Any] = [self.foreach and self.foreach.task, self.when and self.when.task]
        return tuple(dict.fromkeys([*self.depends_on, *(task for task in read if task is not None)]))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _input(given: object, what: str) -> JsonValue:
    if not isinstance(given, Mapping):
        raise Misuse(f"the input of {what} is {given!r}; pass a JSON object (a dict)")
    return require_json(given, f"input of {what}")


def _timeout_s(given: float | None, what: str) -> float | None:
    """60 and 60.0 are the same policy: they must give the plan the same hash."""
    if given is None:
        return None
    if not (_is_number(given) and 0 < given < float("inf")):
        raise PolicyError(f"timeout_s of {what} is {given!r}; give a number of seconds > 0")
    return float(given)


def _names(depends_on: object, task_id: TaskId) -> tuple[TaskId, ...]:
    if depends_on == ():
        return ()
    wrong = isinstance(depends_on, (str, Mapping)) or not isinstance(depends_on, Iterable)
    names: tuple[Any, ...] = () if wrong else tuple(depends_on)  # type: ignore[arg-type]  # checked in the line above
    if wrong or not all(isinstance(name, str) for name in names):
        raise Misuse(f"depends_on of {task_id!r} is {depends_on!r:.200}; pass a list of task ids")
    return tuple(dict.fromkeys(names))


def _check_parts(task: Task) -> None:
    kinds = {"retry": Retry, "when": When, "foreach": ForEach, "compensation": Compensation, "approval": Approval}
    for name, kind in kinds.items():
        value = getattr(task, name)
        if value is not None and not isinstance(value, kind):
            raise Misuse(f"{name} of {task.id!r} is {value!r}; pass a {kind.__name__}")
    if task.approval is not None:
        beside = [name for name in _NOT_OF_PEOPLE if getattr(task, name) is not None]
        if beside:
            raise PolicyError(
                f"{task.id!r} has an approval, and {beside[0]}, which is for agents; leave it out"
                + (" (the approval has a timeout_s of its own)" if beside[0] == "timeout_s" else "")
            )
    reads = [part.task for part in (task.when, task.foreach) if part is not None and part.task is not None]
    if reads and task.trigger_rule == "one_success" and len(task.upstream) > 1:
        raise PolicyError(
            f"{task.id!r} reads the output of {reads[0]!r}, and the trigger rule one_success could start it before "
            f"that has ended; use all_success, none_failed or all_done, or make {reads[0]!r} its only dependency"
        )


def checked_comparison(pointer: str, op: str, value: object, *, what: str) -> JsonValue:
    """The value that is compared with. what: what compares, for messages.

    Raises:
        PolicyError: the pointer or the operator is none. Misuse: the value is not JSON.
    """
    _check_pointer(pointer, what)
    if op not in _OPERATORS:
        raise PolicyError(f"{what} has the operator {op!r}; use one of {', '.join(_OPERATORS)}")
    return require_json(value, f"{what} value")


def _check_pointer(pointer: str, what: str) -> None:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise PolicyError(f"{what} has the pointer {pointer!r}; a JSON pointer is empty or starts with '/'")
