"""The port of journal stores: the durable texts of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from coterie._rules.written import Change, Guard, Page
from coterie.ports.words import Durability, Scope

__all__ = ["JournalStore"]

T = TypeVar("T")


class JournalStore(Protocol):
    """Durable texts of runs. Async, for one event loop at a time.

    A run's texts lie on shelves, each text under a path: the main shelf is `""`, others have names. Runs are named as
    `coterie.ids.check_workflow_id` allows; the namespace is the store's own affair. A path, or the name of a shelf, is
    1 to 512 characters without control characters; a text is at most 4 MiB. Everything about one run is atomic where
    it says so; nothing is across runs.

    When a call that writes returns, what it wrote is as durable as `durability` says. Calls that wait at the same time
    are made durable together (group commit), in no particular order. Every call has a deadline of the store's own.

    Raises, from every call:
        Unavailable: the store did not answer in time, or failed; `__cause__` is the driver's error. Whether something
            was written is then not known; it may be written again.
        StateFormatError: what lies there is of a newer coterie, or damaged.
    """

    @property
    def url(self) -> str:
        """Where the texts lie, without credentials."""
        ...

    @property
    def scope(self) -> Scope:
        """Who shares them."""
        ...

    @property
    def namespace(self) -> str:
        """What sets this deployment's runs apart."""
        ...

    @property
    def durability(self) -> Durability:
        """What survives."""
        ...

    async def change(self, run: str, paths: Sequence[str], decide: Change[T]) -> T:
        """Apply a decision to texts of the main shelf, atomically, and return its result.

        `decide` gets the texts at `paths` (None where there is none) and the store's clock, and says what to write,
        at any of these paths. It is synchronous and pure, and may be run several times. What it raises is raised here,
        and nothing is written. A run exists from its first text on.

        Raises:
            Misuse: it would write at a path that it was not given.
        """
        ...

    async def write(
        self, run: str, texts: Mapping[str, str | None], *, guard: Guard | None = None, shelf: str = ""
    ) -> None:
        """Write texts (None: remove) to one shelf, atomically, if the guard holds.

        Raises:
            StaleToken: it does not hold; nothing was written.
        """
        ...

    async def get(self, run: str, paths: Sequence[str]) -> tuple[dict[str, str], int]:
        """Those of these texts of the main shelf that are there, as they were at one moment, and the store's clock, in
        microseconds.
        """
        ...

    async def read(self, run: str, shelf: str = "") -> dict[str, str]:
        """All texts of a shelf, as they were at one moment, or each at some moment during the call; empty if none."""
        ...

    async def runs(self, *, limit: int, after: str | None = None) -> Page:
        """Runs, the one begun last first, at most `limit` from behind the cursor `after` on.

        A run is listed until it is removed.
        """
        ...

    async def remove(self, run: str) -> bool:
        """Remove a run with all that belongs to it; whether there was one."""
        ...

    async def aclose(self) -> None:
        """End what was begun, give up connections, within a bound; safe to call twice."""
        ...
