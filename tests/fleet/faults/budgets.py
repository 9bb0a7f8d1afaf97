"""Several processes' budgets on one server, and what those who spend know themselves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from coterie.budget import Budget
from coterie.errors import BudgetExhausted, BudgetSpent, Unavailable
from tests.fleet.faults.weather import Strikes

__all__ = ["CALL_S", "LIMIT", "MOST", "Fleet", "budgets_of", "patiently", "through"]


LIMIT = 20_000
MOST = 50
MEMBERS = 3
WORKERS = 3
# Holding, then settling, each of several commands, with a store that takes all the time that it has.
CALL_S = 15.0


@dataclass
class Fleet:
    """spent, held: as those who spend have it, apart from the store. worst: the most of both together, ever."""

    budgets: list[Budget]
    spent: int = 0
    held: int = 0
    worst: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_spending(self, budget: Budget, chance: Any) -> None:
        while not self.stop.is_set():
            patience_s = chance.choice([0.01, 0.05, CALL_S, CALL_S, CALL_S])
            bound = chance.randint(1, MOST)
            began = time.monotonic()
            try:
                async with asyncio.timeout(patience_s):
                    await self._spend(budget, bound, chance.randint(0, bound), chance.choice([0, 0, 0.02, 0.1]))
                end = "done"
            except (BudgetSpent, BudgetExhausted, Unavailable) as error:
                end = type(error).__name__
                await asyncio.sleep(0.01)
            except TimeoutError:
                end = "cancelled"
            assert time.monotonic() - began < CALL_S + 5, f"a caller was stuck: {end}"
            self.ends[end] += 1

    async def _spend(self, budget: Budget, bound: int, amount: int, work_s: float) -> None:
        async with budget.reserve(bound) as spending:
            self.held += bound
            self.worst = max(self.worst, self.spent + self.held)
            try:
                await asyncio.sleep(work_s)
            finally:
                # Spent on the way, whatever comes of it.
                spending.report(amount)
                self.held -= bound
                self.spent += amount

    async def is_itself_again(self, limit: int) -> int:
        """What is left can be held to the last unit, and not one more; returns what the store says was spent."""
        budget = self.budgets[0]
        for one in self.budgets:
            async with asyncio.timeout(10):
                await one.aclose()
        status = await patiently(budget.status)
        spent, held = status.spent, status.held
        left = limit - spent - held
        assert left >= 0, f"over by {-left}"
        assert status.spent + status.held >= self.spent, "something that was spent is forgotten"
        with pytest.raises((BudgetSpent, BudgetExhausted)):
            await self.budgets[1].hold(left + 1)
        async with self.budgets[2].reserve(left) as spending:
            spending.report(0)
        assert (await budget.status()).left == left
        return spent + held


async def patiently(use: Any) -> Any:
    while True:
        try:
            return await use()
        except Unavailable:
            await asyncio.sleep(0.02)


def budgets_of(opened: Any, limit: int = LIMIT, **options: Any) -> Fleet:
    return Fleet([Budget("b", limit, store=opened(), **options) for _ in range(MEMBERS)])


async def through(fleet: Fleet, weather: Strikes, faults: list[str], chance: Any) -> None:
    spending = [asyncio.create_task(fleet.keep_spending(one, chance)) for one in fleet.budgets for _ in range(WORKERS)]
    try:
        for fault in faults:
            await weather.strike(fault)
    finally:
        fleet.stop.set()
        async with asyncio.timeout(CALL_S + 5):
            await asyncio.gather(*spending)
