"""One unit of work for one agent type, and the policies that belong to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from coterie._json import JsonValue, require_json
from coterie.errors import Misuse, PolicyError
from coterie.ids import AgentType, TaskId, check_name

__all__ = ["ForEach", "Retry", "Task", "TriggerRule", "When"]

TriggerRule = Literal["all_success", "all_done", "one_success", "none_failed"]
Operator = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "exists"]

_TRIGGER_RULES = get_args(TriggerRule)
_OPERATORS = get_args(Operator)


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
        _check_pointer(self.pointer, "when")
        if self.op not in _OPERATORS:
            raise PolicyError(f"when has the operator {self.op!r}; use one of {', '.join(_OPERATORS)}")
        object.__setattr__(self, "value", require_json(self.value, "when value"))


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
class Task:
    """One unit of work for one agent type.

    input: a JSON object; `{"$param": "name"}` anywhere in it is replaced by the run's parameter.
    timeout_s: seconds that one attempt may take; None leaves it to the agent's own policy.
    priority: among tasks that wait for the same agents, higher ones start first.

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

    def __post_init__(self) -> None:
        check_name(self.id, "task id")
        check_name(self.agent_type, f"agent type of {self.id!r}")
        if not isinstance(self.input, Mapping):
            raise Misuse(f"the input of {self.id!r} is {self.input!r}; pass a JSON object (a dict)")
        if self.trigger_rule not in _TRIGGER_RULES:
            raise PolicyError(
                f"{self.id!r} has the trigger rule {self.trigger_rule!r}; use one of {', '.join(_TRIGGER_RULES)}"
            )
        if self.timeout_s is not None and not (_is_number(self.timeout_s) and 0 < self.timeout_s < float("inf")):
            raise PolicyError(f"timeout_s of {self.id!r} is {self.timeout_s!r}; give a number of seconds > 0")
        if type(self.priority) is not int:
            raise PolicyError(f"priority of {self.id!r} is {self.priority!r}; give a whole number, higher goes first")
        if type(self.timeout_s) is int:
            # 60 and 60.0 are the same policy: they must give the plan the same hash.
            object.__setattr__(self, "timeout_s", float(self.timeout_s))
        if self.retry is not None or self.when is not None or self.foreach is not None:
            _check_parts(self)
        if self.input:
            object.__setattr__(self, "input", require_json(self.input, f"input of {self.id!r}"))
        object.__setattr__(self, "depends_on", _names(self.depends_on, self.id))

    @property
    def upstream(self) -> tuple[TaskId, ...]:
        """Every task that this one waits for: `depends_on`, and those its foreach and condition read."""
        if self.foreach is None and self.when is None:
            return self.depends_on
        read: list[Any] = [self.foreach and self.foreach.task, self.when and self.when.task]
        return tuple(dict.fromkeys([*self.depends_on, *(task for task in read if task is not None)]))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _names(depends_on: object, task_id: TaskId) -> tuple[TaskId, ...]:
    if depends_on == ():
        return ()
    wrong = isinstance(depends_on, (str, Mapping)) or not isinstance(depends_on, Iterable)
    names: tuple[Any, ...] = () if wrong else tuple(depends_on)  # type: ignore[arg-type]  # checked in the line above
    if wrong or not all(isinstance(name, str) for name in names):
        raise Misuse(f"depends_on of {task_id!r} is {depends_on!r:.200}; pass a list of task ids")
    return tuple(dict.fromkeys(names))


def _check_parts(task: Task) -> None:
    for name, kind in (("retry", Retry), ("when", When), ("foreach", ForEach)):
        value = getattr(task, name)
        if value is not None and not isinstance(value, kind):
            raise Misuse(f"{name} of {task.id!r} is {value!r}; pass a {kind.__name__}")
    reads = [part.task for part in (task.when, task.foreach) if part is not None and part.task is not None]
    if reads and task.trigger_rule == "one_success" and len(task.upstream) > 1:
        raise PolicyError(
            f"{task.id!r} reads the output of {reads[0]!r}, and the trigger rule one_success could start it before "
            f"that has ended; use all_success, none_failed or all_done, or make {reads[0]!r} its only dependency"
        )


def _check_pointer(pointer: str, what: str) -> None:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise PolicyError(f"{what} has the pointer {pointer!r}; a JSON pointer is empty or starts with '/'")
