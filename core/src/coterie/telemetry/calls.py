"""Count the calls of agents: how they ended, how long they took, what they used; never what was said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Protocol

from coterie._json import JsonValue
from coterie.ids import AgentType
from coterie.telemetry.meters import Meters
from coterie.telemetry.watched import AgentSlots, Call
from coterie.usage import Usage

__all__ = ["MICROS", "count_calls"]

MICROS = 1_000_000


class _Context(Protocol):
    @property
    def usage(self) -> Usage: ...


def count_calls(meters: Meters, agent_type: AgentType, agents: Iterable[AgentSlots]) -> None:
    """Have the calls of these agents counted from now on; once, however often this is asked."""
    for slot in agents:
        if not _is_counted(slot.call, meters):
            slot.call = _Counted(slot.call, meters, agent_type)


def _is_counted(call: Call, meters: Meters) -> bool:
    # Others may count it too: the process's own metrics, and a page beside them.
    while isinstance(call, _Counted):
        if call.meters is meters:
            return True
        call = call.counted
    return False


class _Counted:
    """Calls an agent, and counts it."""

    __slots__ = ("_agent_type", "counted", "meters")

    def __init__(self, call: Call, meters: Meters, agent_type: AgentType) -> None:
        self.counted = call
        self.meters = meters
        self._agent_type = agent_type

    async def __call__(self, task_input: dict[str, JsonValue], context: _Context) -> Any:
        before, began_s, outcome = context.usage, time.perf_counter(), "failed"
        try:
            value = await self.counted(task_input, context)
            outcome = "succeeded"
            return value
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._ended(outcome, time.perf_counter() - began_s, before, context.usage)

    def _ended(self, outcome: str, took_s: float, before: Usage, after: Usage) -> None:
        agent_type, meters = self._agent_type, self.meters
        meters.add("coterie.agent.calls", agent_type, outcome)
        meters.record("coterie.agent.duration", agent_type, value=took_s)
        if after != before:
            meters.add("coterie.tokens", agent_type, "input", amount=after.input_tokens - before.input_tokens)
            meters.add("coterie.tokens", agent_type, "output", amount=after.output_tokens - before.output_tokens)
            meters.add("coterie.run.cost", agent_type, amount=(after.cost_micros - before.cost_micros) / MICROS)
