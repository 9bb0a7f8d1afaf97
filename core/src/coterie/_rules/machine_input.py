"""What the input of a machine's action refers to: parameters of the run, and what the machine carries.

Both kinds are replaced in one pass: what an agent or a person wrote is never read as a reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, cast

from coterie._json import JsonValue, pointer_get, require_json
from coterie.errors import MachineError, Misuse, UnknownState

__all__ = ["Reference", "check_references", "fill_input", "references"]

_PARAM, _DATA, _DEFAULT = "$param", "$data", "default"
_OF_STATES = ("outputs", "errors")
_OF_EVENTS = ("name", "payload", "who")


class Reference(NamedTuple):
    """A place in a machine's data; `default` stands where nothing lies there, if `has_default`."""

    pointer: str
    has_default: bool = False
    default: JsonValue = None

    @property
    def steps(self) -> list[str]:
        """The pointer's parts."""
        return self.pointer.split("/")[1:]


def references(value: JsonValue) -> Iterator[Reference]:
    """Every `{"$data": …}` in an action's input.

    Raises:
        MachineError: one that is malformed.
    """
    if isinstance(value, dict):
        if _DATA in value:
            yield _reference(value)
            return
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def check_references(state: str, task_input: Mapping[str, JsonValue], acting: Mapping[str, bool]) -> None:
    """Refuse a reference to what a machine never has. acting: all its states, and whether they have an action.

    Raises:
        MachineError: names the state and the reference.
    """
    for found in references(dict(task_input)):
        where = f"the input of the state {state!r} refers to {found.pointer!r}"
        kind, *rest = found.steps or [""]
        if kind in _OF_STATES:
            _check_state(where, rest[0] if rest else "", acting)
        elif kind == "event":
            if rest and rest[0] not in _OF_EVENTS:
                raise MachineError(f"{where}: an event has {', '.join(_OF_EVENTS)}; correct the pointer")
        elif kind != "visit" or rest:
            raise MachineError(
                f"{where}: a machine carries /outputs/<state>, /errors/<state>, /event and /visit; correct the pointer"
            )


def fill_input(
    state: str, task_input: Mapping[str, JsonValue], params: Mapping[str, JsonValue], data: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """An action's input with every reference replaced by a copy of what it refers to.

    Raises:
        Misuse: nothing lies where a reference without a default points.
    """
    where = f"the input of the state {state!r}"

    def replaced(value: dict[str, JsonValue]) -> JsonValue:
        if _DATA in value:
            return _found(_reference(value), data, where)
        name = cast("str", value[_PARAM])
        if name not in params:
            raise Misuse(f"{where} asks for the parameter {name!r}; declare it in the machine's params")
        return require_json(params[name], f"parameter {name!r}")

    return cast("dict[str, JsonValue]", _fill(dict(task_input), replaced))


def _fill(value: JsonValue, replaced: Callable[[dict[str, JsonValue]], JsonValue]) -> JsonValue:
    if isinstance(value, dict):
        if _DATA in value or (len(value) == 1 and isinstance(value.get(_PARAM), str)):
            return replaced(value)
        return {key: _fill(item, replaced) for key, item in value.items()}
    return [_fill(item, replaced) for item in value] if isinstance(value, list) else value


def _reference(value: dict[str, JsonValue]) -> Reference:
    pointer, rest = value[_DATA], value.keys() - {_DATA, _DEFAULT}
    if not isinstance(pointer, str) or not pointer.startswith("/") or rest:
        raise MachineError(
            f"{str(value)[:200]} is no reference to a machine's data; "
            'write {"$data": "/pointer"}, with "default" beside it if need be'
        )
    return Reference(pointer, _DEFAULT in value, value.get(_DEFAULT))


def _found(reference: Reference, data: Mapping[str, JsonValue], where: str) -> JsonValue:
    try:
        found = pointer_get(dict(data), reference.pointer, where)
    except Misuse as error:
        if not reference.has_default:
            raise Misuse(f"{error}; or give the reference a default") from None
        found = reference.default
    return require_json(found, where)


def _check_state(where: str, name: str, acting: Mapping[str, bool]) -> None:
    if acting.get(name):
        return
    if name in acting:
        raise MachineError(f"{where}, and the state {name!r} has no action; name one that has")
    raise UnknownState(f"{where}, and so to", name, [known for known, acts in acting.items() if acts])
