"""Between Python's values and JSON documents."""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from typing import Any

from coterie._json import canonical_bytes
from coterie.errors import CorruptArtifact, Misuse
from coterie.ref import Ref

__all__ = ["document", "text_of", "validated"]


def document(value: object) -> bytes:
    """The canonical JSON of a value; in it, pydantic models and dataclasses may stand for objects.

    Raises:
        Misuse: it is not JSON.
    """
    try:
        return canonical_bytes(value)
    except Misuse as error:
        # Any other cause, such as NaN, no conversion would mend.
        if not isinstance(error.__cause__, TypeError):
            raise
    try:
        text = json.dumps(
            value, default=_plain, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
        )
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Misuse(
            f"not a JSON value: {error}; pass plain dicts, lists, strings, numbers, pydantic models or dataclasses"
        ) from error


def validated(ref: Ref, content: bytes, type_: Any) -> Any:
    """What a document says, as a type that pydantic knows.

    Raises:
        CorruptArtifact: it is not JSON. Misuse: it says something else.
    """
    from pydantic import ValidationError

    from coterie.agent import type_adapter

    try:
        return type_adapter(type_).validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise CorruptArtifact(f"{ref.uri[:200]!r} is not JSON: {first['msg']}; read it with read_bytes") from error
        place = "/".join(map(str, first["loc"])) or "the value"
        name = getattr(type_, "__name__", str(type_))
        raise Misuse(
            f"{ref.uri[:200]!r} holds no {name}: {place}: {first['msg']}; load it as what it was stored as"
        ) from error


def text_of(ref: Ref, content: bytes) -> str:
    """UTF-8 text.

    Raises:
        CorruptArtifact: it is none.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CorruptArtifact(f"{ref.uri[:200]!r} is not UTF-8 text: {error}; read it with read_bytes") from error


def _plain(value: object) -> object:
    from pydantic import BaseModel
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    if not isinstance(value, BaseModel) and (isinstance(value, type) or not is_dataclass(value)):
        raise TypeError(f"a {type(value).__name__} is no JSON")
    try:
        plain: object = to_jsonable_python(value, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        raise ValueError(str(error)) from error
    return plain
