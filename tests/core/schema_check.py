"""As much of JSON Schema (2020-12) as a plan's schema uses; an unknown keyword is an error."""

from __future__ import annotations

from typing import Any

_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
_NOTES = {"$defs", "$schema", "title", "description", "default"}


def violations(schema: dict[str, Any], document: Any) -> list[str]:
    """What is wrong with `document`, one line a place; empty if nothing."""
    return list(_check(schema, document, "", schema.get("$defs", {})))


def _check(schema: Any, value: Any, place: str, defs: dict[str, Any]) -> Any:
    if isinstance(schema, bool):
        if not schema:
            yield f"{place}: nothing is allowed here"
        return
    for keyword, rule in schema.items():
        if keyword not in _NOTES:
            yield from _KEYWORDS[keyword](rule, value, place, defs, schema)


def _type(rule: Any, value: Any, place: str, defs: Any, schema: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if rule == "number":
        ok = number
    elif rule == "integer":
        ok = number and float(value).is_integer()
    else:
        ok = isinstance(value, _TYPES[rule])
    if not ok:
        yield f"{place}: {value!r} is no {rule}"


def _properties(rule: Any, value: Any, place: str, defs: Any, schema: Any) -> Any:
    if isinstance(value, dict):
        for name in rule.keys() & value.keys():
            yield from _check(rule[name], value[name], f"{place}/{name}", defs)


def _additional(rule: Any, value: Any, place: str, defs: Any, schema: Any) -> Any:
    if isinstance(value, dict):
        for name in value.keys() - schema.get("properties", {}).keys():
            yield from _check(rule, value[name], f"{place}/{name}", defs)


def _required(rule: Any, value: Any, place: str, defs: Any, schema: Any) -> Any:
    if isinstance(value, dict):
        yield from (f"{place}: {name} is missing" for name in rule if name not in value)


def _items(rule: Any, value: Any, place: str, defs: Any, schema: Any) -> Any:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _check(rule, item, f"{place}/{number}", defs)


def _any_of(rule: Any, value: Any, place: str, defs: Any, schema: Any) -> Any:
    if all(list(_check(one, value, place, defs)) for one in rule):
        yield f"{place}: {value!r} is none of the allowed forms"


def _enum(rule: Any, value: Any, place: str, defs: Any, schema: Any) -> Any:
    if value not in rule:
        yield f"{place}: {value!r} is not one of {rule}"


def _ref(rule: Any, value: Any, place: str, defs: Any, schema: Any) -> Any:
    yield from _check(defs[rule.removeprefix("#/$defs/")], value, place, defs)


_KEYWORDS = {
    "$ref": _ref,
    "additionalProperties": _additional,
    "anyOf": _any_of,
    "enum": _enum,
    "items": _items,
    "properties": _properties,
    "required": _required,
    "type": _type,
}
