"""What a decision over a run's texts comes to, and the forms in which journal stores are asked and answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeAlias, TypeVar

__all__ = ["Change", "Changed", "Guard", "Page", "RunEntry"]

T = TypeVar("T")


class Changed(NamedTuple, Generic[T]):
    """texts: what to write, by path; None removes. Empty: nothing changes."""

    texts: Mapping[str, str | None]
    result: T


# The texts at the paths that were asked for (None: there is none), and whole microseconds since the epoch, on the
# store's clock.
Change: TypeAlias = Callable[[Mapping[str, str | None], int], Changed[T]]


class Guard(NamedTuple):
    """Holds while the text at a path of the main shelf is exactly this one: whoever wrote another is the owner now."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run in a list. begun_at, changed_at: microseconds since the epoch; `changed_at` may be a minute behind."""

    run: str
    begun_at: int
    changed_at: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, and the cursor behind the last of them; None where there are no more."""

    runs: tuple[RunEntry, ...]
    after: str | None
