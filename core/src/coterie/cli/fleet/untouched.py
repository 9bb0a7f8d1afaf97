"""Look at a state database without making it: where the file is not there yet, nothing is stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from coterie._rules.decided import State
from coterie.ports.around import StateStoreAround

__all__ = ["Untouched"]

_SQLITE = "sqlite://"


class Untouched(StateStoreAround):
    """A `StateStore` that is not made by reading it, where it is a file; the first change makes it."""

    @property
    def is_made(self) -> bool:
        """Whether there is anything to look at; a file may appear at any time."""
        return not self.url.startswith(_SQLITE) or Path(self.url.removeprefix(_SQLITE)).exists()

    async def read(self, key: str) -> tuple[State | None, int]:
        """See `StateStore.read`; of a file that is not there, nothing, and this machine's clock."""
        return await super().read(key) if self.is_made else (None, time.time_ns() // 1000)

    async def keys(self, kind: str) -> Sequence[str]:
        """See `StateStore.keys`; of a file that is not there, none."""
        return await super().keys(kind) if self.is_made else ()
