"""What the scripts of a log take: terms, retention, patterns and messages as arguments, positions as they may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

from coterie._rules.log import Message, Position, Retention, Terms
from coterie._rules.timeline import micros
from coterie.stores.logs import MAX_PENDING, no_position

__all__ = ["Argument", "arguments_of", "chosen", "kept_by", "parsed", "taken_by"]

Argument: TypeAlias = str | bytes | int

_POSITION = re.compile(r"(0|[1-9][0-9]{0,16})-(0|[1-9][0-9]{0,15})\Z")
# What means something in a pattern of Lua's, but for the star, which stands for anything.
_MAGIC = re.compile(r"([\^$()%.\[\]+?-])")
# Stands for a consumer's own lease, in a script.
_NOT_HEARD_OF = "the consumer was not heard of for ? s"
_KNOWN = 256


def parsed(position: Position) -> Position:
    """Return a position of a message if it may be one, or "".

    Raises:
        Misuse: it may not.
    """
    if position != "" and not (isinstance(position, str) and _POSITION.match(position)):
        raise no_position(position)
    return position


@lru_cache(_KNOWN)
def chosen(types: tuple[str, ...]) -> tuple[Argument, ...]:
    """Patterns of types, checked, and before them how many; none where they stand for all."""
    if any(not pattern.strip("*") for pattern in types):
        return (0,)
    return (len(types), *map(_pattern, types))


@lru_cache(_KNOWN)
def taken_by(terms: Terms) -> tuple[tuple[Argument, ...], tuple[Argument, ...]]:
    """What `_log_take` takes of the terms before the limit, and after it."""
    ageing = micros(terms.ageing_s) if terms.by_priority else ""
    before = (micros(terms.lease_s), terms.max_deliveries, ageing, _begin(terms.begin))
    return before, (MAX_PENDING, _NOT_HEARD_OF, *chosen(terms.types))


@lru_cache(_KNOWN)
def kept_by(retention: Retention) -> tuple[Argument, ...]:
    """What `_log_append` takes of the retention."""
    return (
        "" if retention.max_messages is None else retention.max_messages,
        "" if retention.max_age_s is None else micros(retention.max_age_s),
        "1" if retention.when_full == "refuse" else "",
        micros(retention.dedup_s),
        "" if retention.idle_s is None else micros(retention.idle_s),
    )


def arguments_of(messages: Sequence[Message]) -> list[Argument]:
    """What `_log_append` takes of the messages: bytes of the largest text, at most; how much is said of each; each."""
    arguments: list[Argument] = [max(_bytes(message.text) for message in messages)]
    if any(message.key or message.priority for message in messages):
        arguments.append(5)
        for message in messages:
            arguments += (message.id, message.type, message.text, message.key, message.priority)
    else:
        arguments.append(3)
        for message in messages:
            arguments += (message.id, message.type, message.text)
    return arguments


def _begin(begin: str) -> str:
    if begin == "begin":
        return ""
    return begin if begin == "end" else parsed(begin) or "0-0"


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)


def _pattern(pattern: str) -> str:
    return f"~^{_joined(pattern.split('*'))}$" if "*" in pattern else f"={pattern}"


def _joined(parts: Iterable[str]) -> str:
    return re.sub(r"(\.\*)+", ".*", ".*".join(_MAGIC.sub(r"%\1", part) for part in parts))
