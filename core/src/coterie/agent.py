"""Agents: who performs tasks. A handler is an async or sync function, or a command."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin, get_type_hints

from coterie._json import JsonValue, require_json
from coterie.errors import Misuse, PolicyError
from coterie.ids import AgentId, AgentType, check_name
from coterie.task import Retry

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["Agent", "Handler", "to_json"]

# A function of (input), or of (input, context); or an object that is called likewise.
Handler: TypeAlias = Callable[..., Any]
Call: TypeAlias = "Callable[[dict[str, JsonValue], TaskContext], Awaitable[Any]]"

_UNTYPED = (inspect.Parameter.empty, Any, dict, object)


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent of a team.

    capacity: tasks it performs at the same time in one process.
    version: declare a new one when the same input would give another output.
    plannable: whether a plan that a model made may use it; False for whatever has effects.
    timeout_s, retry: for tasks that bring none of their own.
    """

    id: AgentId
    type: AgentType
    handler: Handler
    capacity: int = 1
    version: str = "0"
    plannable: bool = True
    timeout_s: float | None = None
    retry: Retry | None = None
    description: str = ""

    def __post_init__(self) -> None:
        check_name(self.id, "agent id")
        check_name(self.type, f"agent type of {self.id!r}")
        if isinstance(self.capacity, bool) or not isinstance(self.capacity, int) or self.capacity < 1:
            raise PolicyError(f"the agent {self.id!r} has capacity {self.capacity!r}; give a whole number >= 1")
        if self.timeout_s is not None and not (_is_number(self.timeout_s) and 0 < self.timeout_s < float("inf")):
            raise PolicyError(f"the agent {self.id!r} has timeout_s {self.timeout_s!r}; give seconds > 0")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise PolicyError(f"the agent {self.id!r} has retry {self.retry!r}; pass a Retry")
        if not callable(self.handler):
            raise Misuse(
                f"the handler of the agent {self.id!r} is {self.handler!r}; "
                "pass a function of (input, context), async or not"
            )


def compile_call(agent: Agent) -> Call:
    """What the engine calls: async, with validated input, whatever kind of handler the agent has."""
    handler = agent.handler
    call = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004
    parameters = _positional(handler, agent)
    convert = _converter(call, parameters[0], agent)
    with_context = len(parameters) > 1
    if inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(handler):
        if with_context and convert is None:
            return handler
        return _async_call(handler, with_context=with_context, convert=convert)
    return _thread_call(handler, with_context=with_context, convert=convert)


def to_json(value: Any, where: str) -> JsonValue:
    """An agent's return value as JSON: plain values, dataclasses, pydantic models, dates, enums, bytes as text.

    Raises:
        Misuse: it cannot be JSON.
    """
    if value is None or value is True or value is False or type(value) in (str, int):
        plain: JsonValue = value
        return plain
    if isinstance(value, (Iterator, AsyncIterator)):
        raise Misuse(f"{where} is a {type(value).__name__}, which runs only when it is read; return a list")
    try:
        return require_json(value, where)
    except Misuse:
        if isinstance(value, float):
            raise
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        converted = to_jsonable_python(value, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError) as error:
        raise Misuse(f"{where} is no JSON: {error}; return plain values, dataclasses or pydantic models") from error
    return require_json(converted, where)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _async_call(handler: Handler, *, with_context: bool, convert: Callable[[Any], Any] | None) -> Call:
    async def call(task_input: dict[str, JsonValue], context: TaskContext) -> Any:
        value = convert(task_input) if convert else task_input
        return await (handler(value, context) if with_context else handler(value))

    return call


def _thread_call(handler: Handler, *, with_context: bool, convert: Callable[[Any], Any] | None) -> Call:
    from coterie._threads import run_in_thread

    async def call(task_input: dict[str, JsonValue], context: TaskContext) -> Any:
        value = convert(task_input) if convert else task_input
        arguments = (value, context.blocking()) if with_context else (value,)
        returned = await run_in_thread(context, handler, *arguments)
        # A plain function that only makes a coroutine, such as a lambda around an async client.
        return await returned if inspect.isawaitable(returned) else returned

    return call


def _positional(handler: Handler, agent: Agent) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        signature = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):
        signature = []
    parameters = [p for p in signature if p.kind in kinds]
    required = [p for p in signature if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if not parameters or required or any(p.default is p.empty for p in parameters[2:]):
        raise Misuse(
            f"the handler of the agent {agent.id!r} takes {len(parameters)} positional arguments"
            f"{' and needs others by keyword' if required else ''}; it is called with (input) or (input, context)"
        )
    return parameters[:2]


def _converter(call: Any, parameter: inspect.Parameter, agent: Agent) -> Callable[[Any], Any] | None:
    wanted = parameter.annotation
    if isinstance(wanted, str):
        wanted = _evaluated(wanted, inspect.unwrap(call))
    if wanted in _UNTYPED or _is_json(wanted):
        return None
    return _Validated(wanted, agent.id)


def _evaluated(annotation: str, function: Any) -> Any:
    """What a postponed annotation means; that of the input alone, since the context's may exist for types only."""
    namespace = getattr(getattr(function, "__func__", function), "__globals__", {})
    holder = type("Holder", (), {"__annotations__": {"input": annotation}})
    try:
        return get_type_hints(holder, namespace).get("input", Any)
    except (NameError, TypeError, SyntaxError, AttributeError):
        # A name that only a type checker sees: the agent gets the plain JSON object.
        return Any


def _is_json(wanted: Any) -> bool:
    """Whether every JSON object is of that type already."""
    if wanted is JsonValue:
        return True
    of_json = get_origin(wanted) in (dict, Mapping)
    return of_json and get_args(wanted) in ((str, Any), (str, object), (str, JsonValue))


class _Validated:
    """Turns a JSON object into the type that a handler declares; the schema is built on first use."""

    __slots__ = ("_agent_id", "_wanted")

    def __init__(self, wanted: Any, agent_id: AgentId) -> None:
        self._wanted = wanted
        self._agent_id = agent_id

    def __call__(self, task_input: Any) -> Any:
        from pydantic import ValidationError

        try:
            return type_adapter(self._wanted).validate_python(task_input)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = "/".join(map(str, first["loc"])) or "the input"
            raise Misuse(
                f"the agent {self._agent_id!r} cannot take its input: {place}: {first['msg']}; correct the task's input"
            ) from error


def type_adapter(wanted: Any) -> Any:
    """A pydantic TypeAdapter, built once a type."""
    try:
        hash(wanted)
    except TypeError:
        # An annotation may hold anything, such as a dict in `Annotated`: built each time.
        return _built.__wrapped__(wanted)
    return _built(wanted)


@lru_cache(maxsize=256)
def _built(wanted: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(wanted)
