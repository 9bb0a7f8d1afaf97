"""A plan as a document: JSON form, JSON Schema, Mermaid. Pydantic is built here, when first needed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

from coterie._json import JsonValue
from coterie.errors import Misuse, PlanError
from coterie.ids import TaskId
from coterie.plan import Plan
from coterie.task import Task

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

__all__ = [
    "plan_from_dict",
    "plan_schema",
    "plan_to_dict",
    "plan_to_mermaid",
    "task_from_dict",
    "task_to_dict",
]


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan's JSON form; fields at their default are left out, so that equal plans hash equally."""
    document: dict[str, Any] = {"name": plan.name, "tasks": [task_to_dict(task) for task in plan.tasks]}
    if plan.params:
        document["params"] = dict(plan.params)
    if plan.outputs != plan.leaves:
        document["outputs"] = list(plan.output_ids)
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
    for name in ("retry", "when", "foreach"):
        part = getattr(task, name)
        if part is not None:
            document[name] = _part_to_dict(part)
    return document


def plan_from_dict(document: object) -> Plan:
    """Validate a document into a plan; see `Plan.from_dict`."""
    from pydantic import ValidationError

    try:
        shape = _plan_adapter().validate_python(document)
    except ValidationError as error:
        raise _as_plan_error(error) from error
    return Plan(shape["name"], shape["tasks"], params=shape.get("params"), outputs=shape.get("outputs"))


def task_from_dict(document: object) -> Task:
    """Validate a document into a task.

    Raises:
        PlanError, Misuse: names the place that is wrong.
    """
    from pydantic import ValidationError

    try:
        return cast("Task", _task_adapter().validate_python(document))
    except ValidationError as error:
        raise _as_plan_error(error) from error


def plan_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the document."""
    schema = _plan_adapter().json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "coterie plan"}


def plan_to_mermaid(plan: Plan) -> str:
    """A Mermaid flow chart: one node a task, labelled with id and agent type; a stacked node for a foreach."""
    lines = ["flowchart TD"]
    for number, task in enumerate(plan.tasks):
        label = f'"{_escaped(task.id)}<br/><i>{_escaped(task.agent_type)}</i>"'
        lines.append(f"    t{number}[[{label}]]" if task.foreach else f"    t{number}[{label}]")
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

    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(PlanDocument))


@cache
def _task_adapter() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(Task)


def _as_plan_error(error: ValidationError) -> Misuse:
    details = error.errors(include_url=False, include_input=False)
    for detail in details:
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Misuse):
            return cause
    first = details[0]
    place = "/".join(str(step) for step in first["loc"]) or "the document"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return PlanError(f"the plan is wrong at {place}: {first['msg']}{more}; see `coterie validate`")


def _part_to_dict(part: Any) -> dict[str, Any]:
    fields = {name: getattr(part, name) for name in part.__slots__}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    defaults = {name: field.default for name, field in part.__dataclass_fields__.items()}
    return {name: value for name, value in plain.items() if value != defaults[name]}


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;")
