"""Calls that one worker gave back for a circuit breaker's sake: asked for anew as soon as the breaker lets calls pass.

Their messages lie in the queue until the breaker would have rested enough. A breaker that is closed before, by hand or
by a trial that ended well, frees them: each is told once more, and its older message, when it is due, is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from coterie._rules.breaker import read_view
from coterie._rules.log import Message
from coterie.breaker.shadow import FREE
from coterie.errors import BreakerOpen, CoterieError, Refused
from coterie.ids import AgentType
from coterie.ports import LogStore
from coterie.remote.queue import QUEUE, Asking, topic_of
from coterie.telemetry.logs import guarded
from coterie.work import Work

if TYPE_CHECKING:
    from coterie.pipeline.gate import Gate

__all__ = ["Withheld"]

_log = guarded("coterie.remote")

# What is due so soon anyway is not told again.
_SOON_S = 0.5
# Beyond so many of a type, the others come when they are due.
_MOST = 10_000
_MOST_AT_ONCE = 1_000
_CLOSE_S = 2.0
_Notice: TypeAlias = Callable[[str | None], None]


class _Held(NamedTuple):
    """message: that asks for it anew. due_s: when the older one is delivered, on the event loop's clock."""

    message: Message
    due_s: float


class Withheld:
    """One worker's. gate_of: what stands before the agents of a type, if anything does."""

    def __init__(self, log: LogStore, gate_of: Callable[[AgentType], Gate | None]) -> None:
        self._log = log
        self._gate_of = gate_of
        self._held: dict[AgentType, dict[str, _Held]] = {}
        self._heard: dict[AgentType, _Notice] = {}
        self._work = Work()

    def keep(self, agent_type: AgentType, message: Message, *, token: int, refusal: Refused) -> None:
        """Remember a call that was given back for as long as a refusal says, if a breaker refused.

        message: whose it was; it names a call. token: of the attempt that was refused.
        """
        gate, delay_s = self._gate_of(agent_type), refusal.retry_after_s
        if gate is None or not isinstance(refusal, BreakerOpen) or delay_s <= _SOON_S:
            return
        now_s = asyncio.get_running_loop().time()
        held = self._held.setdefault(agent_type, {})
        if len(held) >= _MOST:
            held = self._held[agent_type] = {name: one for name, one in held.items() if one.due_s > now_s}
        if len(held) < _MOST:
            asking = Asking.read(message)
            held[asking.call_id] = _Held(asking.message(priority=message.priority, again=token), now_s + delay_s)
        if agent_type not in self._heard:
            self._heard[agent_type] = notice = partial(self._notice, gate)
            self._work.start(self._listen(gate, notice))

    async def aclose(self) -> None:
        """Hear nothing more. What is withheld comes to other workers when it is due."""
        await self._work.aclose(_CLOSE_S)
        for agent_type, notice in self._heard.items():
            gate = self._gate_of(agent_type)
            if gate is None:
                continue
            for name in gate.breaker_names:
                with suppress(CoterieError):
                    await gate.tools.store.unsubscribe(f"breaker/{name}", notice)
        self._heard.clear()

    async def _listen(self, gate: Gate, notice: _Notice) -> None:
        try:
            for name in gate.breaker_names:
                await gate.tools.store.subscribe(f"breaker/{name}", notice)
        except CoterieError as error:
            _log.info("breaker.not_heard %s: its calls wait until they are due: %s", gate.agent_type, error)
            # The next that is refused tries again.
            self._heard.pop(gate.agent_type, None)
            return
        # It may have closed before anybody listened.
        await self._look(gate)

    def _notice(self, gate: Gate, message: str | None) -> None:
        if message is None or _may_pass(message):
            self._work.start(self._look(gate))

    async def _look(self, gate: Gate) -> None:
        if self._held.get(gate.agent_type) and await gate.look_again():
            await self._send(gate.agent_type)

    async def _send(self, agent_type: AgentType) -> None:
        soon_s = asyncio.get_running_loop().time() + _SOON_S
        messages = [one.message for one in self._held.pop(agent_type, {}).values() if one.due_s > soon_s]
        try:
            for first in range(0, len(messages), _MOST_AT_ONCE):
                some = messages[first : first + _MOST_AT_ONCE]
                await self._log.append(topic_of(agent_type), some, retention=QUEUE)
        except CoterieError as error:
            _log.warning("calls.not_woken %s: they wait until they are due: %s", topic_of(agent_type), error)


def _may_pass(message: str) -> bool:
    try:
        return read_view(message).state in FREE
    except (ValueError, LookupError, TypeError):
        # Of another version, or nobody's: the state itself tells.
        return True
