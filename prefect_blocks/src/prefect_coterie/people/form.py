"""What a person is shown: fields as models that Prefect makes forms from, and values as Markdown beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model
from pydantic import Field as Part

from coterie import Field

__all__ = ["MOST_BYTES", "choice", "filled_in", "plain", "values_of"]

# Of all the values that one question shows.
MOST_BYTES = 16_000

_TYPES: dict[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}


def choice(of: Sequence[str], **more: Any) -> tuple[type[str], Any]:
    """One of these; more: as for pydantic's `Field`."""
    # Not a literal: of a single one that would be no choice but a constant, which forms leave out.
    return str, Part(..., json_schema_extra={"enum": list(of)}, **more)


def values_of(fields: Mapping[str, Field], *, needed: str = "") -> type[BaseModel]:
    """A model of the fields. needed: is told of those that are required, and not enforced; without it, they are."""
    # By number, with their names as aliases: a name may be one that a model has itself.
    parts: dict[str, Any] = {
        f"field_{number}": _part(name, field, needed) for number, (name, field) in enumerate(fields.items())
    }
    model: type[BaseModel] = create_model("Values", __config__=ConfigDict(extra="forbid"), **parts)
    return model


def filled_in(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Without what was left empty."""
    return {name: value for name, value in (values or {}).items() if value is not None and value != ""}


def plain(text: str) -> str:
    """A line of Markdown that is read as this text."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", " ".join(text.split()))


def _part(name: str, field: Field, needed: str) -> tuple[Any, Any]:
    kind: Any = _TYPES[field.type]
    is_open = field.default is None
    must = field.required and is_open and not needed
    enum: Any = {"enum": [*field.choices, *([None] if is_open and not must else [])]} if field.choices else None
    return (
        kind | None if is_open and not must else kind,
        Part(
            ... if must else field.default,
            alias=name,
            title=field.title or name,
            description=needed if field.required and is_open and needed else None,
            json_schema_extra=enum,
        ),
    )
