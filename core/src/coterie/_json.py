"""JSON values: the only kind of data that travels between tasks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from typing_extensions import TypeAliasType

from coterie.errors import Misuse

__all__ = [
    "MAX_DEPTH",
    "JsonObject",
    "JsonValue",
    "canonical_bytes",
    "content_shape",
    "content_size",
    "pointer_get",
    "require_json",
]

JsonValue = TypeAliasType("JsonValue", "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]")
JsonObject: TypeAlias = Mapping[str, JsonValue]

# Deeper documents are refused: parsers, validators and people all have their limits.
MAX_DEPTH = 200
_PLAIN = frozenset({bool, int, str, type(None)})
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=True
).encode


def canonical_bytes(value: object) -> bytes:
    """The one UTF-8 form of a JSON value: sorted keys, no spaces. Hashes are taken over it.

    Raises:
        Misuse: the value holds something that JSON cannot say (NaN, a set, lone surrogates).
    """
    try:
        return _encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Misuse(f"not a JSON value: {error}; pass plain dicts, lists, strings, numbers") from error


def require_json(value: object, where: str) -> JsonValue:
    """Return `value` as plain JSON, a copy: tuples become lists, mappings dicts, subclasses their plain type.

    Raises:
        Misuse: names the place inside `value` that is not JSON, or that it is nested over 200 deep.
    """
    try:
        return _plain(value, MAX_DEPTH)
    except _NotJsonError as error:
        place = "/".join([where, *map(str, reversed(error.path[:MAX_DEPTH]))])
        raise Misuse(f"{place[:300]} {error}") from None


def content_size(value: object, limit: int) -> int:
    """How many values a document holds; see `content_shape`."""
    return content_shape(value, limit)[0]


def content_shape(value: object, limit: int) -> tuple[int, int]:
    """How many values a document holds, counting shared ones (YAML aliases) each time, and how deep it is nested.

    Stops above `limit` values or `MAX_DEPTH` levels: what comes back is then just over one of them.
    """
    count, depth, level = 0, 0, [value]
    while level and count <= limit and depth <= MAX_DEPTH:
        deeper: list[object] = []
        for found in level:
            if isinstance(found, dict):
                deeper.extend(found.values())
            elif isinstance(found, list):
                deeper.extend(found)
            if count + len(deeper) > limit:
                return limit + 1, depth
        count, depth, level = count + len(level), depth + 1, deeper
    return count, depth


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
        elif isinstance(value, list) and _INDEX.match(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            raise Misuse(f"{where}: nothing lies at {pointer!r} (no {step!r} there); correct the pointer")
    return value


class _NotJsonError(Exception):
    """Says what is wrong; `path` grows from the inside out while it rises."""

    def __init__(self, reason: str) -> None:
        self.path: list[str | int] = []
        super().__init__(reason)


def _plain(value: object, depth: int) -> JsonValue:
    kind = type(value)
    if kind in _PLAIN:
        return value  # type: ignore[return-value]  # one of the plain types
    if kind is not dict and kind is not list and isinstance(value, float):
        if not math.isfinite(value):
            raise _NotJsonError(f"is {value!r}, which JSON cannot say; use null or a string")
        return float(value)
    if kind is dict or kind is list or isinstance(value, (Mapping, list, tuple)):
        if depth == 0:
            raise _NotJsonError(f"is nested more than {MAX_DEPTH} deep; flatten it")
        if kind is dict or isinstance(value, Mapping):
            return _plain_object(value, depth - 1)  # type: ignore[arg-type]  # a mapping, as was just seen
        return _plain_list(value, depth - 1)  # type: ignore[arg-type]  # a list or tuple
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    raise _NotJsonError(f"is a {type(value).__name__}, not JSON; convert it to dicts, lists, strings, numbers")


def _plain_object(value: Mapping[object, object], depth: int) -> dict[str, JsonValue]:
    plain: dict[str, JsonValue] = {}
    for key, item in value.items():
        # As nearly all are.
        if type(key) is str and type(item) in _PLAIN:
            plain[key] = item  # type: ignore[assignment]  # one of the plain types
            continue
        if not isinstance(key, str):
            raise _NotJsonError(f"has the key {key!r}, which is not a string; JSON keys are strings")
        try:
            plain[str.__str__(key)] = _plain(item, depth)
        except _NotJsonError as error:
            error.path.append(key)
            raise
    return plain


def _plain_list(value: Sequence[object], depth: int) -> list[JsonValue]:
    plain: list[JsonValue] = []
    for number, item in enumerate(value):
        if type(item) in _PLAIN:
            plain.append(item)  # type: ignore[arg-type]  # one of the plain types
            continue
        try:
            plain.append(_plain(item, depth))
        except _NotJsonError as error:
            error.path.append(number)
            raise
    return plain
