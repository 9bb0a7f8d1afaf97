"""The steps of one attempt as they begin: what each is called, so that another attempt finds it again."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from coterie.errors import Misuse
from coterie.ids import content_hash

__all__ = ["Begun", "Step"]

_LONGEST_NAME = 100
# So much takes a journal, with room for a number.
_LONGEST_PATH = 500


class Step(NamedTuple):
    """path: names it in its unit of work. live: what nobody else may be called while it runs."""

    path: str
    live: str


class Begun:
    """Which steps have begun in one attempt, and which are at it.

    diverged: whether one was found that is not what the journal knows, so that those after it run anew. swept: whether
    those that the journal knew have been removed since. met: the paths of those that are as the journal has them.
    """

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()
        self._live: set[str] = set()
        self.diverged = self.swept = False
        self.met: set[str] = set()

    def enter(self, parent: str | None, name: str, key: str | None) -> Step:
        """Name a step that begins, within the one around it.

        Raises:
            Misuse: a name that cannot be, or steps that could not be told apart.
        """
        if not name or len(name) > _LONGEST_NAME or not name.isprintable() or any(sign in name for sign in "/#="):
            raise Misuse(
                f"a step is called {name!r}; use 1 to {_LONGEST_NAME} printable characters without '/', '#' and '='"
            )
        base = f"{parent}/{name}" if parent else name
        live = base if key is None else f"{base}={content_hash(key)[:32]}"
        if live in self._live:
            with_key = f" with the key {key!r}" if key is not None else ""
            raise Misuse(
                f"two steps {base!r}{with_key} run at the same time: after a retry nobody could tell which is which; "
                "give each a key of its own"
            )
        if len(live) > _LONGEST_PATH:
            raise Misuse(f"the step {live[:200]!r}… lies too deep; use shorter names, or fewer steps within each other")
        self._live.add(live)
        if key is not None:
            return Step(live, live)
        self._numbers[base] += 1
        number = self._numbers[base]
        return Step(base if number == 1 else f"{base}#{number}", live)

    def leave(self, step: Step) -> None:
        """It ended, however."""
        self._live.discard(step.live)
