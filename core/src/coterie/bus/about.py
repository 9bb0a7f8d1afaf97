"""What an event of a run or a task says, and how it is named: the same, whoever tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from coterie._json import JsonValue

__all__ = ["About", "about"]

_TEXT_CHARS, _KEY_CHARS = 2000, 200
# What people look for first, also where they see no more than the beginning.
_FIRST = ("state", "status", "error")


class About(NamedTuple):
    """As of `CloudEvent`."""

    data: dict[str, JsonValue]
    key: str
    subject: str | None
    correlation_id: str | None


def about(run: str, task: str | None, fields: Mapping[str, JsonValue], *, correlation_id: str = "") -> About:
    """Of a run, or a task of it: how it ended comes first, then `workflow_id` and `task_id`, then what else is told.

    run: the key, so that what is told of it comes in order; "" where it is not known. correlation_id: by default the
    run.
    """
    first = {name: fields[name] for name in _FIRST if fields.get(name) is not None}
    names: dict[str, JsonValue] = {"workflow_id": run} if run else {}
    if task:
        names["task_id"] = task
    rest = {name: value for name, value in fields.items() if name not in first}
    return About(
        {**first, **names, **rest},
        _clean(run)[:_KEY_CHARS],
        _clean("/".join(filter(None, (run, task))))[:_TEXT_CHARS] or None,
        _clean(correlation_id or run)[:_TEXT_CHARS] or None,
    )


def _clean(text: str) -> str:
    """As an attribute may be."""
    return "".join(one if one.isprintable() else "?" for one in text)
