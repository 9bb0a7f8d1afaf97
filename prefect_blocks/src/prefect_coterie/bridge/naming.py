"""What a bridge is called that nobody has named, and how two of one name are told apart that forward different things.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from coterie.ids import content_hash
from coterie.journal.owner import new_owner

__all__ = ["Direction", "consumer_of", "default_name", "digest_of", "forwards_otherwise"]

Direction: TypeAlias = Literal["to", "from"]

_DIGITS, _SHOWN_CHARS = 10, 40
# A consumer that is expelled comes back under its name with a number.
_MARK = re.compile(rf"\.([0-9a-f]{{{_DIGITS}}})(?:~\d+)?$")


def digest_of(direction: Direction, topic: str, patterns: Iterable[str]) -> str:
    """The same for the same patterns, in whatever order, of the same topic."""
    return content_hash([direction, topic, sorted(set(patterns))])[:_DIGITS]


def default_name(direction: Direction, topic: str, patterns: Sequence[str]) -> str:
    """Another one for each direction, topic, and set of patterns, which it says as far as there is room."""
    shown = re.sub("[^A-Za-z0-9]+", "-", "-".join(sorted(set(patterns))))[:_SHOWN_CHARS].strip("-")
    return "-".join(filter(None, (direction, shown, digest_of(direction, topic, patterns))))


def consumer_of(digest: str) -> str:
    """A name for this process among the consumers of a group, which tells what it forwards."""
    return f"{new_owner()}.{digest}"


def forwards_otherwise(consumer: str, digest: str) -> bool:
    """Whether a consumer is known to forward something else."""
    found = _MARK.search(consumer)
    return found is not None and found[1] != digest
