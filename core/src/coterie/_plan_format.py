"""A plan as a document: JSON form, JSON Schema, Mermaid, mistakes. Pydantic is built here, when first needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from coterie._document import said_of
from coterie._json import JsonValue
from coterie._rules.saga_policy import SagaPolicy
from coterie.approval import Approval, Field
from coterie.errors import Misuse, PlanError
from coterie.ids import TaskId
from coterie.plan import Plan
from coterie.task import Compensation, ForEach, Retry, Task, When

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

__all__ = [
    "load_json",
    "plan_from_dict",
    "plan_schema",
    "plan_to_dict",
    "plan_to_mermaid",
    "task_from_dict",
    "task_to_dict",
]

MAX_TOLD = 8

_UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_FIELDS: Mapping[str, Sequence[str]] = {
    "plan": ("name", "tasks", "params", "outputs", "saga"),
    **{
        place: tuple(field.name for field in fields(kind))
        for place, kind in (
            ("tasks", Task),
            ("retry", Retry),
            ("when", When),
            ("foreach", ForEach),
            ("compensation", Compensation),
            ("approval", Approval),
            # Of an approval, by whatever name.
            ("fields", Field),
            ("saga", SagaPolicy),
        )
    },
}


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan's JSON form; fields at their default are left out, so that equal plans hash equally."""
    document: dict[str, Any] = {"name": plan.name, "tasks": [task_to_dict(task) for task in plan.tasks]}
    if plan.params:
        document["params"] = dict(plan.params)
    if plan.outputs != plan.leaves:
        document["outputs"] = list(plan.output_ids)
    if plan.saga != SagaPolicy():
        document["saga"] = _part_to_dict(plan.saga)
    return document


def task_to_dict(task: Task) -> dict[str, Any]:
    """One task's JSON form."""
    document: dict[str, Any] = {"id": task.id, "agent_type": task.agent_type}
    if task.input:
        document["input"] = dict(task.input)
    if task.depends_on:
        document["depends_on"] = list(task.depends_on)
    if task.trigger_rule != "all_success":
        document["trigger_rule"] = task.trigger_rule
    if task.timeout_s is not None:
        document["timeout_s"] = task.timeout_s
    if task.priority:
        document["priority"] = task.priority
    if task.placement is not None:
        document["placement"] = task.placement
    for name in ("retry", "when", "foreach", "compensation"):
        part = getattr(task, name)
        if part is not None:
            document[name] = _part_to_dict(part)
    if task.approval is not None:
        document["approval"] = task.approval.to_dict()
    return document


def load_json(text: str | bytes) -> object:
    """The JSON value that `text` holds.

    Raises:
        PlanError: it is not JSON (with line and column), not text, nested too deeply, or says a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_once_each)
    except UnicodeDecodeError as error:
        raise PlanError(f"the plan is not text: {error.reason} at position {error.start}; save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise PlanError(f"the plan is not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise PlanError("the plan is nested too deeply to be JSON for a plan; flatten it") from error
    except PlanError:
        raise
    # A number of more digits than Python converts.
    except ValueError as error:
        raise PlanError(f"the plan is not JSON for a plan: {error}") from error


def plan_from_dict(document: object) -> Plan:
    """Validate a document into a plan; see `Plan.from_dict`."""
    from pydantic import ValidationError

    if not isinstance(document, Mapping):
        raise PlanError(f"the plan is {_kind(document)}; a plan is a mapping with name and tasks")
    try:
        shape = _plan_adapter().validate_python(document)
    except ValidationError as error:
        raise _as_plan_error(error, root="plan") from error
    more = {name: shape.get(name) for name in ("params", "outputs", "saga")}
    return Plan(shape["name"], shape["tasks"], **more)


def task_from_dict(document: object) -> Task:
    """Validate a document into a task.

    Raises:
        PlanError, Misuse: names the place that is wrong.
    """
    from pydantic import ValidationError

    try:
        return cast("Task", _task_adapter().validate_python(document))
    except ValidationError as error:
        raise _as_plan_error(error, root="tasks") from error


def plan_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the document."""
    schema = _plan_adapter().json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "coterie plan"}


def plan_to_mermaid(plan: Plan) -> str:
    """A Mermaid flow chart: one node a task, labelled with id and agent type.

    A foreach is a stacked node, a task that a person decides a hexagon. Who undoes a task stands in its node, after an
    arrow back.
    """
    lines = ["flowchart TD"]
    for number, task in enumerate(plan.tasks):
        undo = f"<br/>↩ <i>{_escaped(task.compensation.agent_type)}</i>" if task.compensation else ""
        label = f'"{_escaped(task.id)}<br/><i>{_escaped(task.agent_type)}</i>{undo}"'
        before, after = ("[[", "]]") if task.foreach else ("{{", "}}") if task.approval else ("[", "]")
        lines.append(f"    t{number}{before}{label}{after}")
    for number, task in enumerate(plan.tasks):
        rule = "" if task.trigger_rule == "all_success" else f"|{task.trigger_rule}|"
        lines.extend(f"    t{before} -->{rule} t{number}" for before in plan.graph.upstream[number])
    return "\n".join(lines) + "\n"


@cache
def _plan_adapter() -> TypeAdapter[Any]:
    from typing import NotRequired

    from pydantic import ConfigDict, TypeAdapter, with_config
    from typing_extensions import TypedDict

    # Built here, not at import: `import coterie` must not pay for schemas that a run may never need.
    class PlanDocument(TypedDict):
        name: str
        tasks: list[Task]
        params: NotRequired[dict[str, JsonValue]]
        outputs: NotRequired[list[TaskId] | None]
        saga: NotRequired[SagaPolicy | None]

    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(PlanDocument))


@cache
def _task_adapter() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(Task)


def _as_plan_error(error: ValidationError, *, root: str) -> Misuse:
    """Every mistake, eight at most. `root`: whether the document is a `plan`, or one of its `tasks`.

    A single refusal of coterie's own is returned as it is, with its class.
    """
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] not in _UNKNOWN)
    cause = _cause(details[0])
    if len(details) == 1 and cause is not None:
        return cause
    told = [_mistake(detail, root) for detail in details[:MAX_TOLD]]
    more = [f"and {len(details) - MAX_TOLD} more"] if len(details) > MAX_TOLD else []
    return PlanError(f"the plan is wrong {'; '.join([*told, *more])}")


def _mistake(detail: Mapping[str, Any], root: str) -> str:
    place = "/".join(str(step)[:100] for step in detail["loc"]) or "the document"
    cause = _cause(detail)
    if cause is not None:
        return f"at {place}: {cause}"
    return f"at {place}: {_unknown_field(detail['loc'], root) if detail['type'] in _UNKNOWN else said_of(detail)}"


def _unknown_field(place: Sequence[int | str], root: str) -> str:
    above = [step for step in place[:-1] if isinstance(step, str)]
    within = above[-2] if above[-2:-1] == ["fields"] else above[-1] if above else root
    known = _FIELDS.get(within, ())
    meant = get_close_matches(str(place[-1])[:100], known, n=1)
    return f"unknown field, did you mean {meant[0]!r}?" if meant else f"unknown field, known are {', '.join(known)}"


def _cause(detail: Mapping[str, Any]) -> Misuse | None:
    cause = detail.get("ctx", {}).get("error")
    return cause if isinstance(cause, Misuse) else None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise PlanError(f"the plan says {twice[:200]!r} twice in one object; keep one of them")
    return found


def _kind(value: object) -> str:
    kinds = {list: "a list", tuple: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return kinds.get(type(value)) or f"of the type {type(value).__name__}"


def _part_to_dict(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, tuple):
            value = list(value)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if value != default:
            found[field.name] = _part_to_dict(value) if is_dataclass(value) else value
    return found


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;")
