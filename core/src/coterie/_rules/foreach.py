"""`foreach`: how a list is cut into parts, when enough items succeeded, and what a condition says."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from coterie._json import JsonValue, pointer_get
from coterie.errors import Misuse
from coterie.ids import ItemKey, item_keys
from coterie.task import ForEach, When

__all__ = ["condition_holds", "items_of", "keys_of", "part_bounds", "tolerated"]

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def items_of(foreach: ForEach, upstream_output: JsonValue, task_id: str) -> list[JsonValue]:
    """The list that a foreach runs over.

    Raises:
        Misuse: there is no list where the foreach points.
    """
    if foreach.items is not None:
        return list(foreach.items)
    found = pointer_get(upstream_output, foreach.pointer, f"the foreach of {task_id!r}")
    if not isinstance(found, list):
        raise Misuse(
            f"the foreach of {task_id!r} points at {foreach.pointer!r} of {foreach.task!r}, "
            f"which is a {type(found).__name__}, not a list; correct the pointer"
        )
    return found


def keys_of(foreach: ForEach, items: list[JsonValue], task_id: str) -> list[ItemKey]:
    """One key an item; see `coterie.ids.item_keys`."""
    if foreach.key is None:
        return item_keys(items)
    where = f"the foreach key of {task_id!r}"
    return item_keys(items, [pointer_get(item, foreach.key, where) for item in items])


def part_bounds(items: int, parts: int, index: int) -> tuple[int, int]:
    """The half-open range of items in part `index` of `parts`: sizes differ by at most one."""
    size, longer = divmod(items, parts)
    start = index * size + min(index, longer)
    return start, start + size + (index < longer)


def tolerated(foreach: ForEach, failed: int, total: int) -> bool:
    """Whether the foreach still succeeds with `failed` of its `total` items failed."""
    limit = foreach.tolerate_failures
    return failed <= (limit * total if isinstance(limit, float) else limit)


def condition_holds(when: When, output: JsonValue) -> bool:
    """Whether the condition holds for the output of its task. Values that do not compare say no."""
    try:
        found = pointer_get(output, when.pointer, "when")
    except Misuse:
        return False
    if when.op == "exists":
        return True
    if when.op in ("eq", "ne"):
        return _equal(found, when.value) is (when.op == "eq")
    try:
        if when.op == "in":
            return isinstance(when.value, list) and any(_equal(found, value) for value in when.value)
        return bool(_COMPARE[when.op](found, when.value))
    except TypeError:
        return False


def _equal(one: JsonValue, other: JsonValue) -> bool:
    # In Python True is 1; in JSON it is not.
    return one == other and isinstance(one, bool) is isinstance(other, bool)
