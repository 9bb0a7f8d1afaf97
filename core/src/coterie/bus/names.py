"""The types of events: coterie's own have short names, and everybody's may be asked for by pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from coterie.errors import Misuse

__all__ = ["FAMILIES", "REPLIES", "full_pattern", "full_type", "is_for_replies", "matcher", "short_type"]

# What short names begin with; all others are their owners' own, by custom a domain's reversed.
FAMILIES = frozenset({
    "agent", "approval", "breaker", "budget", "call", "events", "item", "machine", "run", "saga", "state", "task",
    "worker", "workflow",
})  # fmt: skip
# Where answers to requests go: topics of this beginning, and no others.
REPLIES = "replies/"
_FOR_REPLIES = re.compile(REPLIES + r"[A-Za-z0-9._/-]{1,192}\Z")

_OURS = "dev.coterie."
_VERSION = re.compile(r"\.v[1-9][0-9]{0,3}\Z")
_MOST_PATTERNS = 100


@lru_cache(4096)
def full_type(name: str) -> str:
    """`task.completed` is `dev.coterie.task.completed.v1`; other people's types stay as they are."""
    if name.partition(".")[0] not in FAMILIES or "." not in name:
        return name
    return f"{_OURS}{name}" if _VERSION.search(name) else f"{_OURS}{name}.v1"


@lru_cache(4096)
def short_type(name: str) -> str:
    """The other way round: `dev.coterie.task.completed.v1` is `task.completed`."""
    short = name.removeprefix(_OURS)
    return name if short == name or full_type(short.removesuffix(".v1")) != name else short.removesuffix(".v1")


def full_pattern(pattern: str) -> str:
    """A pattern of types, in which `*` stands for any characters; short for coterie's own: `task.*`.

    Raises:
        Misuse: it is empty, or longer than 200 characters.
    """
    if not isinstance(pattern, str) or not 1 <= len(pattern) <= 200:
        raise Misuse(f"{pattern!r} is no pattern of types; give a type such as 'task.completed', or 'task.*'")
    if not pattern.endswith("*"):
        return full_type(pattern)
    family, dot, _ = pattern.partition(".")
    return f"{_OURS}{pattern}" if dot and family in FAMILIES else pattern


def full_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Several at once; none means all types."""
    if len(patterns) > _MOST_PATTERNS:
        raise Misuse(f"{len(patterns)} patterns are more than {_MOST_PATTERNS}; use wider ones, with '*'")
    return tuple(dict.fromkeys(map(full_pattern, patterns)))


def is_for_replies(topic: str) -> bool:
    """Whether a topic may be named as the place of an answer: one that stores take, and that is no other bus's own."""
    return _FOR_REPLIES.match(topic) is not None


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a type matches one of the patterns, as stores see it; none of them: every type does."""
    if not patterns:
        return lambda _: True
    # Several stars in a row are one.
    known = re.compile("|".join(".*".join(map(re.escape, re.split(r"\*+", each))) for each in patterns), re.DOTALL)
    return lambda name: known.fullmatch(name) is not None
