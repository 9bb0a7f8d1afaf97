"""One state of a machine: what is done in it, and the ways out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from coterie._json import JsonValue
from coterie.errors import MachineError, Misuse
from coterie.ids import AgentType, TaskId, check_name
from coterie.task import Operator, Retry, Task, When, checked_comparison

__all__ = ["TRIGGERS", "Action", "Ending", "Go", "Guard", "State"]

T = TypeVar("T")

# How a machine ends in a final state.
Ending = Literal["succeeded", "failed"]
# What a machine pulls by itself; every other trigger is an event that somebody sends. "cancelled" cannot be waited for.
TRIGGERS = ("succeeded", "failed", "timeout", "exhausted", "cancelled")
MOST_VISITS = 1_000_000
# With the number of a visit behind it, it still names a task.
LONGEST_NAME = 100

# Read by pydantic when a machine's document is validated: an unknown field is an error, not a silent no-op.
_STRICT = {"extra": "forbid"}
_OF_ACTIONS = ("succeeded", "failed")
_UNGUARDED = ("timeout", "exhausted")


@dataclass(frozen=True, slots=True)
class Guard:
    """Open a transition only if the value at `pointer` compares with `value`, as `When` does for a task.

    Asked is what came with the trigger: the action's output (`succeeded`), its error as `{"type", "message"}`
    (`failed`), or the payload of the event. Where nothing lies at `pointer`, every operator is false.
    """

    __pydantic_config__ = _STRICT

    pointer: str = ""
    op: Operator = "exists"
    value: JsonValue = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", checked_comparison(self.pointer, self.op, self.value, what="a guard"))

    @property
    def condition(self) -> When:
        """The same as a task's condition is asked."""
        return When("what came with the trigger", self.pointer, self.op, self.value)


@dataclass(frozen=True, slots=True)
class Go:
    """A transition: to the state `to`, on a trigger, if all its guards hold.

    trigger: `succeeded` or `failed`, how the state's action ended; `timeout`, the state's; `exhausted`, taken instead
        of entering the state more than `max_visits` times; or the name of an event that somebody sends, as `approve`.
    when: guards. Of several transitions on one trigger, the first whose guards hold is taken.
    """

    __pydantic_config__ = _STRICT

    to: str
    trigger: str = "succeeded"
    when: Sequence[Guard] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        check_name(self.to, "the target of a transition")
        check_name(self.trigger, f"the trigger of the transition to {self.to!r}")
        if self.trigger == "cancelled":
            raise MachineError(
                f"the transition to {self.to!r} is on 'cancelled', which ends a machine; name another event"
            )
        object.__setattr__(self, "when", _tuple_of(Guard, self.when, f"when of the transition to {self.to!r}"))
        if self.when and self.trigger in _UNGUARDED:
            raise MachineError(
                f"the transition to {self.to!r} on {self.trigger!r} has a guard, and nothing to ask; remove it"
            )


@dataclass(frozen=True, slots=True)
class Action:
    """What is done in a state: a task for an agent type.

    input: a JSON object. Anywhere in it, `{"$param": "name"}` stands for a parameter of the run, and
        `{"$data": "/pointer"}` for what the machine carries; with `"default"`, for that where nothing lies there:
        `/outputs/<state>` the output of that state's action when it last succeeded, `/errors/<state>` its last failure,
        `/event/name`, `/event/payload` and `/event/who` of the last event that was taken, `/visit` how many times this
        state has been entered.
    timeout_s: seconds that one attempt may take. retry, priority: as a task's.
    """

    __pydantic_config__ = _STRICT

    agent_type: AgentType
    input: Mapping[str, JsonValue] = field(default_factory=dict, kw_only=True)
    timeout_s: float | None = field(default=None, kw_only=True)
    retry: Retry | None = field(default=None, kw_only=True)
    priority: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        checked = self.task("action", self.input)
        object.__setattr__(self, "input", checked.input)
        object.__setattr__(self, "timeout_s", checked.timeout_s)

    def task(self, task_id: TaskId, task_input: Mapping[str, JsonValue]) -> Task:
        """The task that an agent is given, with the action's policies.

        Raises:
            Misuse: what a `Task` may not be.
        """
        return Task(
            task_id,
            self.agent_type,
            input=task_input,
            timeout_s=self.timeout_s,
            retry=self.retry,
            priority=self.priority,
        )


@dataclass(frozen=True, slots=True)
class State:
    """One state of a `StateMachine`.

    action: what is done on entering. It is ended when the state is left before. Without a transition on `succeeded` the
        machine stays here when it has ended; a failure without a transition on `failed` fails the machine.
    transitions: the ways out.
    timeout_s: how long one visit may take, by the store's clock, until the transition on `timeout` is taken.
    max_visits: how often the state may be entered; then its transition on `exhausted` is taken instead, or, without
        one, the machine fails.
    final: the machine ends here, and so; such a state has nothing else.

    Raises:
        MachineError: names the state and what about it cannot work.
    """

    __pydantic_config__ = _STRICT

    name: str
    action: Action | None = field(default=None, kw_only=True)
    transitions: Sequence[Go] = field(default=(), kw_only=True)
    timeout_s: float | None = field(default=None, kw_only=True)
    max_visits: int | None = field(default=None, kw_only=True)
    final: Ending | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_name(self.name, "the state")
        if len(self.name) > LONGEST_NAME:
            raise MachineError(f"the state {self.name!r} has over {LONGEST_NAME} characters; give it a shorter name")
        if self.action is not None and not isinstance(self.action, Action):
            raise Misuse(f"the action of the state {self.name!r} is {self.action!r:.200}; pass an Action")
        object.__setattr__(self, "transitions", _tuple_of(Go, self.transitions, f"transitions of {self.name!r}"))
        _check_bounds(self)
        if self.final is not None:
            _check_final(self)
        elif not self.transitions:
            raise MachineError(
                f"there is no way out of the state {self.name!r}; give it a transition, or make it final='succeeded'"
            )
        for trigger in dict.fromkeys(go.trigger for go in self.transitions):
            _check_trigger(self, trigger)

    def ways(self, trigger: str) -> tuple[Go, ...]:
        """The transitions on a trigger, in the order in which they are tried."""
        return tuple(go for go in self.transitions if go.trigger == trigger)

    @property
    def events(self) -> tuple[str, ...]:
        """The events that may lead out of it, in the order of its transitions."""
        return tuple(dict.fromkeys(go.trigger for go in self.transitions if go.trigger not in TRIGGERS))


def _check_bounds(state: State) -> None:
    timeout_s, visits, name = state.timeout_s, state.max_visits, state.name
    if timeout_s is not None:
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s < float("inf"):
            raise MachineError(f"timeout_s of the state {name!r} is {timeout_s!r}; give a number of seconds > 0")
        # 60 and 60.0 are the same bound: they must give the machine the same hash.
        object.__setattr__(state, "timeout_s", float(timeout_s))
        if not state.ways("timeout") and state.final is None:
            raise MachineError(
                f"the state {name!r} has a timeout_s and no transition on 'timeout'; add one, or remove it"
            )
    elif state.ways("timeout"):
        raise MachineError(f"the state {name!r} has a transition on 'timeout' and no timeout_s; give it one")
    if visits is not None and (type(visits) is not int or not 1 <= visits <= MOST_VISITS):
        raise MachineError(
            f"max_visits of the state {name!r} is {visits!r}; give a whole number from 1 to {MOST_VISITS}"
        )
    if visits is None and state.ways("exhausted"):
        raise MachineError(f"the state {name!r} has a transition on 'exhausted' and no max_visits; give it one")


def _check_final(state: State) -> None:
    if state.final not in get_args(Ending):
        raise MachineError(f"final of the state {state.name!r} is {state.final!r}; use 'succeeded' or 'failed'")
    given = {"an action": state.action, "transitions": state.transitions, "a timeout_s": state.timeout_s}
    more = [what for what, value in {**given, "max_visits": state.max_visits}.items() if value]
    if more:
        raise MachineError(
            f"the state {state.name!r} is final and has {', '.join(more)}; a machine ends there: remove it"
        )


def _check_trigger(state: State, trigger: str) -> None:
    ways = state.ways(trigger)
    if trigger in _OF_ACTIONS and state.action is None:
        raise MachineError(
            f"the state {state.name!r} goes to {ways[0].to!r} on {trigger!r}, and has no action that could end so; "
            "give it an action, or name an event: trigger='approve'"
        )
    unguarded = [number for number, go in enumerate(ways) if not go.when]
    if len(unguarded) > 1:
        one, other = (ways[number].to for number in unguarded[:2])
        raise MachineError(
            f"the state {state.name!r} goes both to {one!r} and to {other!r} on {trigger!r}, neither with a guard; "
            "give the first one a guard, or remove one"
        )
    if unguarded and unguarded[0] != len(ways) - 1:
        raise MachineError(
            f"the state {state.name!r} never goes to {ways[-1].to!r} on {trigger!r}: the transition to "
            f"{ways[unguarded[0]].to!r} before it has no guard; put that one last"
        )
    if trigger == "succeeded" and not unguarded:
        raise MachineError(
            f"the state {state.name!r} does not say where to go on 'succeeded' when no guard holds; "
            "add a last transition without one"
        )


def _tuple_of(kind: type[T], values: object, what: str) -> tuple[T, ...]:
    wrong = isinstance(values, (str, Mapping)) or not isinstance(values, Iterable)
    every: tuple[Any, ...] = () if wrong else tuple(values)  # type: ignore[arg-type]  # checked in the line above
    if wrong or not all(isinstance(value, kind) for value in every):
        raise Misuse(f"{what} is {values!r:.200}; pass a list of {kind.__name__}")
    return every
