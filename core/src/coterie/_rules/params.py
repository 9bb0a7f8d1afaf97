"""Run parameters: `{"$param": "name"}` in a task's input stands for a value given when the run starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from coterie._json import JsonValue, require_json
from coterie.errors import Misuse

__all__ = ["bind_params", "fill", "param_names"]

_MARK = "$param"


def param_names(value: JsonValue) -> set[str]:
    """The parameters that a task's input refers to."""
    if isinstance(value, dict):
        name = _reference(value)
        return {name} if name is not None else set().union(*map(param_names, value.values()))
    return set().union(*map(param_names, value)) if isinstance(value, list) else set()


def bind_params(defaults: Mapping[str, JsonValue], given: Mapping[str, object] | None) -> dict[str, JsonValue]:
    """The parameters of one run: the plan's defaults, overridden by those given.

    Raises:
        Misuse: a parameter that the plan does not declare.
    """
    bound = dict(defaults)
    for name, value in (given or {}).items():
        if name not in defaults:
            known = ", ".join(sorted(defaults)) or "none"
            raise Misuse(f"the plan has no parameter {name!r}; it declares: {known}")
        bound[name] = require_json(value, f"parameter {name!r}")
    return bound


def fill(task_input: Mapping[str, JsonValue], params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A task's input with every reference replaced."""
    return cast("dict[str, JsonValue]", _fill(dict(task_input), params))


def _fill(value: JsonValue, params: Mapping[str, JsonValue]) -> JsonValue:
    if isinstance(value, dict):
        name = _reference(value)
        if name is None:
            return {key: _fill(item, params) for key, item in value.items()}
        if name not in params:
            raise Misuse(f"a task asks for the parameter {name!r}; declare it in the plan's params")
        # A copy: what one agent does to its input must not reach another.
        return require_json(params[name], f"parameter {name!r}")
    return [_fill(item, params) for item in value] if isinstance(value, list) else value


def _reference(value: dict[str, JsonValue]) -> str | None:
    name = value.get(_MARK)
    return name if len(value) == 1 and isinstance(name, str) else None
