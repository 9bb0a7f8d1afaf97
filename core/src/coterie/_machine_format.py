"""A state machine as a document: JSON form, YAML, JSON Schema. Pydantic is built here, when first needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from coterie._document import DocumentKind, kind_of, record_to_dict
from coterie._json import JsonValue
from coterie._yaml import dump_yaml, load_yaml
from coterie.errors import MachineError
from coterie.machine import MAX_MACHINE_VALUES, StateMachine
from coterie.state import Action, Go, Guard, State
from coterie.task import Retry

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["KIND", "load_machine_yaml", "machine_from_dict", "machine_schema", "machine_to_dict", "machine_to_yaml"]

_PARTS = {"states": State, "transitions": Go, "when": Guard, "action": Action, "retry": Retry}
KIND = DocumentKind(
    "the machine",
    MachineError,
    {
        "": ("name", "states", "initial", "params", "max_steps"),
        **{place: tuple(field.name for field in fields(part)) for place, part in _PARTS.items()},
    },
)


def machine_to_dict(machine: StateMachine) -> dict[str, Any]:
    """The machine's JSON form; fields at their default are left out, so that equal machines hash equally."""
    document: dict[str, Any] = {
        "name": machine.name,
        "initial": machine.initial,
        "states": [record_to_dict(state) for state in machine.states],
    }
    if machine.params:
        document["params"] = dict(machine.params)
    if machine.max_steps is not None:
        document["max_steps"] = machine.max_steps
    return document


def machine_to_yaml(machine: StateMachine) -> str:
    """The machine's YAML form."""
    return dump_yaml(machine_to_dict(machine))


def load_machine_yaml(text: str | bytes) -> object:
    """The document that a YAML text holds.

    Raises:
        MachineError: see `load_yaml`.
    """
    return load_yaml(text, what=KIND.what, error=MachineError, max_values=MAX_MACHINE_VALUES)


def machine_from_dict(document: object) -> StateMachine:
    """Validate a document into a machine; see `StateMachine.from_dict`."""
    from pydantic import ValidationError

    if not isinstance(document, Mapping):
        raise MachineError(f"the machine is {kind_of(document)}; a machine is a mapping with name, states and initial")
    try:
        shape = _adapter().validate_python(document)
    except ValidationError as error:
        raise KIND.mistakes(error) from error
    more = {name: shape[name] for name in ("params", "max_steps") if name in shape}
    return StateMachine(shape["name"], shape["states"], initial=shape["initial"], **more)


def machine_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the document."""
    schema = _adapter().json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "coterie state machine"}


@cache
def _adapter() -> TypeAdapter[Any]:
    from typing import NotRequired

    from pydantic import ConfigDict, TypeAdapter, with_config
    from typing_extensions import TypedDict

    # Built here, not at import: `import coterie` must not pay for schemas that a run may never need.
    class MachineDocument(TypedDict):
        name: str
        states: list[State]
        initial: str
        params: NotRequired[dict[str, JsonValue]]
        max_steps: NotRequired[int | None]

    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(MachineDocument))
