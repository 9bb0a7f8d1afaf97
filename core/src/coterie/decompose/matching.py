"""Which phrase an objective means. Pure and deterministic: no order of registration, no score, no threshold.

First the same words in the same order (case, punctuation and spaces aside). Then the phrases all of whose words
the objective holds, in any order; of those, the ones with the most different words. Only if all that are left
belong to one owner is there an answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["normalised", "owners_of"]

_WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """The words of `text` in lower case, one space between two; `_` and `-` part words."""
    return " ".join(_WORD.findall(text.casefold().replace("_", " ")))


def owners_of(objective: str, phrases: Mapping[str, str]) -> tuple[str, ...]:
    """The owners that `objective` may mean, sorted: none, the one, or all of several that are equally good.

    phrases: normalised phrase -> its owner.
    """
    asked = normalised(objective)
    if asked in phrases:
        return (phrases[asked],)
    words = set(asked.split())
    held = {phrase: len(parts) for phrase in phrases if (parts := set(phrase.split())) <= words}
    most = max(held.values(), default=0)
    return tuple(sorted({phrases[phrase] for phrase, count in held.items() if count == most}))
