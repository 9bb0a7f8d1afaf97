"""JSON values: the only kind of data that travels between tasks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from typing_extensions import TypeAliasType

from coterie.errors import Misuse

__all__ = ["JsonObject", "JsonValue", "canonical_bytes", "content_size", "pointer_get", "require_json"]

JsonValue = TypeAliasType("JsonValue", "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]")
JsonObject: TypeAlias = Mapping[str, JsonValue]

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=True
).encode


def canonical_bytes(value: object) -> bytes:
    """The one UTF-8 form of a JSON value: sorted keys, no spaces. Hashes are taken over it.

    Raises:
        Misuse: the value holds something that JSON cannot say (NaN, a set, a key that is no string).
    """
    try:
        return _encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Misuse(f"not a JSON value: {error}; pass plain dicts, lists, strings, numbers") from error


def require_json(value: object, where: str) -> JsonValue:
    """Return `value` as plain JSON: tuples become lists, mappings dicts with string keys.

    Raises:
        Misuse: names the place inside `value` that is not JSON.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Misuse(f"{where} is {value!r}, which JSON cannot say; use null or a string")
        return value
    if isinstance(value, Mapping):
        return {_key(key, where): require_json(item, f"{where}/{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [require_json(item, f"{where}/{number}") for number, item in enumerate(value)]
    raise Misuse(f"{where} is a {type(value).__name__}, not JSON; convert it to dicts, lists, strings, numbers")


def content_size(value: object, limit: int) -> int:
    """How many values a document holds, counting shared ones (YAML aliases) each time; stops above `limit`."""
    count, pending = 0, [value]
    while pending and count <= limit:
        found = pending.pop()
        count += 1
        if isinstance(found, dict):
            pending.extend(found.values())
        elif isinstance(found, list):
            pending.extend(found)
    return count


def pointer_get(document: Any, pointer: str, where: str) -> Any:
    """Follow a JSON pointer (RFC 6901) into `document`; the empty pointer is the whole document.

    Raises:
        Misuse: nothing lies there; the message names `where` and the step that failed.
    """
    value = document
    for raw in pointer.split("/")[1:]:
        step = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise Misuse(f"{where}: nothing lies at {pointer!r} (no {step!r} there); correct the pointer")
    return value


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise Misuse(f"{where} has the key {key!r}, which is not a string; JSON keys are strings")
    return key
