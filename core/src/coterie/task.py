"""One unit of work for one agent type, and the policies that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        if self.max_attempts < 1 or self.base_s < 0 or self.cap_s < self.base_s:
            raise PolicyError(f"retry needs max_attempts >= 1 and 0 <= base_s <= cap_s, got {self!r}")


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
        if isinstance(limit, bool) or limit < 0 or (isinstance(limit, float) and not limit <= 1):
            raise PolicyError(f"tolerate_failures is a count (int) or a share from 0.0 to 1.0, got {limit!r}")
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
        if isinstance(self.depends_on, str):
            raise Misuse(f"depends_on of {self.id!r} is the string {self.depends_on!r}; pass a list of task ids")
        if self.trigger_rule not in _TRIGGER_RULES:
            raise PolicyError(
                f"{self.id!r} has the trigger rule {self.trigger_rule!r}; use one of {', '.join(_TRIGGER_RULES)}"
            )
        if self.timeout_s is not None and not 0 < self.timeout_s < float("inf"):
            raise PolicyError(f"timeout_s of {self.id!r} is {self.timeout_s!r}; give a number of seconds > 0")
        if self.input:
            object.__setattr__(self, "input", require_json(self.input, f"input of {self.id!r}"))
        object.__setattr__(self, "depends_on", tuple(dict.fromkeys(self.depends_on)))

    @property
    def upstream(self) -> tuple[TaskId, ...]:
        """Every task that this one waits for: `depends_on`, and those its foreach and condition read."""
        if self.foreach is None and self.when is None:
            return self.depends_on
        read: list[Any] = [self.foreach and self.foreach.task, self.when and self.when.task]
        return tuple(dict.fromkeys([*self.depends_on, *(task for task in read if task is not None)]))


def _check_pointer(pointer: str, what: str) -> None:
    if pointer and not pointer.startswith("/"):
        raise PolicyError(f"{what} has the pointer {pointer!r}; a JSON pointer is empty or starts with '/'")
