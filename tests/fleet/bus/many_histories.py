"""What the exhaustive run adds to the contract of log stores: many random histories in place of a few."""

from __future__ import annotations

import pytest

from coterie.ports import LogStore
from coterie.testing import LogStoreContract, ManualClock

__all__ = ["ManyHistories"]

COUNT = 400


class ManyHistories(LogStoreContract):
    """The contract, for stores of this repository."""

    @pytest.mark.full
    async def test_many_random_histories_have_the_answers_of_the_memory_store(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        await self.compare(store, clock, COUNT)
