"""Triggers that resume their task, and not too soon for Airflow.

A task is deferred while its process still ends, and Airflow's scheduler hears of that end with its next round. Is the
task queued again in the same round, Airflow (3.3) takes it for one that was killed, and fails it. So a trigger that
finds at once what it waits for holds it back until that round is over.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

__all__ = ["ResumingTrigger", "settled"]

# Twice what the scheduler's rounds are apart where it is idle.
SETTLE_S = 2.0


async def settled(begun_at: float) -> None:
    """Wait until a task may be resumed whose trigger began then, by the event loop's clock."""
    left_s = begun_at + SETTLE_S - asyncio.get_running_loop().time()
    if left_s > 0:
        await asyncio.sleep(left_s)


class ResumingTrigger(BaseTrigger):
    """Fires once, with what `awaited` returns; that resumes the task."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire."""
        begun_at = asyncio.get_running_loop().time()
        payload = await self.awaited()
        await settled(begun_at)
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]  # Airflow's

    @abstractmethod
    async def awaited(self) -> dict[str, Any]:
        """Wait, and return what the task is told of it."""
