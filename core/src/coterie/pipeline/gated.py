"""Perform one unit of work through a gate: refusals are waited for, failures tried again, then others stand in."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from coterie.attempt import (
    Ended,
    hand_back,
    kept,
    named,
    note_call,
    perform,
    raise_if_cancelled,
    raise_if_late,
    wait_for_slot,
)
from coterie.clock import Clock
from coterie.context import TaskContext
from coterie.errors import PoolBusy, TaskTimedOut, Unavailable, UnknownAgent, UnknownAgentType
from coterie.events import Listener
from coterie.ids import AgentId
from coterie.pipeline.gate import Gate
from coterie.pipeline.persistence import Persistence
from coterie.pipeline.places import Place
from coterie.pipeline.remembered import recall, remember
from coterie.policies import Fallback
from coterie.result import ErrorInfo
from coterie.slots import Slot, TypeSlots
from coterie.task import Retry

__all__ = ["GatedWork"]

_log = logging.getLogger("coterie.task")

_NOTICE_S = 2.0


class GatedWork:
    """One unit of work: a task, or one item of a foreach.

    only: the one agent that may do it. stands_in: it is done in place of others, and nobody stands in for it.
    """

    def __init__(
        self,
        context: TaskContext,
        gate: Gate,
        clock: Clock,
        listener: Listener | None,
        *,
        only: AgentId | None = None,
        stands_in: bool = False,
    ) -> None:
        self._context = context
        self._gate = gate
        self._clock = clock
        self._listener = listener
        self._only = only
        self._stands_in = stands_in
        run = context.run
        # Whoever stands in is asked once: the caller who waits would come back to those who failed.
        waits = run.waits or stands_in
        self._again = Persistence(context, gate, clock, listener, waits=waits, patience_s=run.patience_s)
        # Whoever was refused was not called.
        self._made = context.attempt - 1
        self._notice: asyncio.TimerHandle

    async def perform(self, slot: Slot) -> Ended:
        """As `coterie.attempt.perform`.

        Raises:
            Refused: not now; where the run leaves it to its caller to wait.
        """
        context = self._context
        while True:
            try:
                return await self._attempt(slot)
            # Every failure of an agent becomes a result, as in `coterie.attempt.perform`.
            except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001
                raise_if_cancelled(error)
                failure = error
            finally:
                hand_back(context, slot)
            if not await self._again.goes_on(failure, self._retry()):
                break
            slot = await wait_for_slot(context, slot.pool)
        agent_id = context.agent.id if context.agent is not None else None
        failed = self._ended("failed", None, failure, agent_id)
        # Of a refusal, where it was raised says nothing.
        trace = None if self._again.is_refusal(failure) else failure
        _log.warning("task.failed %s of %s: %r", named(context), context.run.workflow_id, failure, exc_info=trace)
        return failed if self._stands_in or isinstance(failure, Unavailable) else await self._fall_back(failed)

    async def _attempt(self, slot: Slot) -> Ended:
        context = self._context
        place = slot if isinstance(slot, Place) else None
        if place is None or place.due_s is not None:
            return await self._go(slot, place)
        # Who does not queue would take the slot from under those whose turn it is.
        if self._again.queue_s() > 0:
            try:
                return await self._go(slot, place)
            except PoolBusy as error:
                if not self._again.is_refusal(error):
                    raise
        trail = context.trail
        began_us = trail.now_us() if trail is not None else 0
        await place.until_due()
        if trail is not None:
            trail.waited("queue", began_us, place="local", priority=place.priority)
        return await self._go(slot, place)

    async def _go(self, slot: Slot, place: Place | None) -> Ended:
        """Through the gate, to an agent."""
        context, gate = self._context, self._gate
        way = gate.admit(
            context,
            wait_s=self._again.queue_s,
            priority=context.task.priority if place is None else place.priority,
            key=context.item_key or context.task.id,
            ticket=context.ticket(),
            only=self._only,
        )
        self._tell_later(place, self._again.queue_s())
        standing = _Standing(slot.pool) if place is None else None
        try:
            async with self._again.through(way, place) as admitted:
                self._notice.cancel()
                called = gate.slot(admitted.agent_id)
                if place is not None:
                    await place.begin(called)
                elif standing is not None:
                    standing.end()
                    await slot.pool.may_begin()
                self._made += 1
                value = await self._call(called)
        finally:
            self._notice.cancel()
            if standing is not None:
                standing.end()
        output = await kept(context, value)
        if gate.remembers_s and not self._stands_in:
            await remember(
                context.cache_key(gate.version), context.task.id, gate.tools.store, output, keep_s=gate.remembers_s
            )
        return self._ended("succeeded", output, None, admitted.agent_id)

    def _tell_later(self, place: Place | None, wait_s: float) -> None:
        """Say so of whoever stands in the queue for long: nothing else shows that it is not stuck."""
        self._notice = asyncio.get_running_loop().call_later(_NOTICE_S, self._tell_that_it_waits, place, wait_s)

    def _tell_that_it_waits(self, place: Place | None, wait_s: float) -> None:
        if place is not None and place.due_s is None:
            self._tell_later(place, wait_s)
        else:
            self._again.tell("task.waiting", wait_s=wait_s)

    async def _call(self, slot: Slot) -> Any:
        """One call of the agent, noted where it failed, or anything else is worth telling."""
        context = self._context
        context.agent, context.pool = slot.agent, slot.pool
        began = self._clock.monotonic()
        try:
            value = await self._call_in_time(slot)
        except BaseException as error:
            if (trail := context.trail) is not None:
                note_call(trail, context, self._clock.monotonic() - began, error)
            raise
        trail = context.noted
        if trail is not None and trail.laps:
            note_call(trail, context, self._clock.monotonic() - began)
        return value

    async def _call_in_time(self, slot: Slot) -> Any:
        """Under its time-out."""
        context, agent, trace = self._context, slot.agent, self._context.run.trace
        call = slot.call if trace is None else partial(trace.call, slot.call, agent)
        timeout_s = context.task.timeout_s or agent.timeout_s
        if timeout_s is None:
            context.deadline = None
            return await call(context.input, context)
        context.deadline = self._clock.now() + timeout_s
        scope = asyncio.timeout(timeout_s)
        try:
            async with scope:
                value = await call(context.input, context)
            raise_if_late(scope)
        except Exception as error:
            # Raised on, to whoever tries again; also where the agent made an error of its own out of its cut-off.
            if scope.expired():
                raise TaskTimedOut(context.task.id, timeout_s) from error
            raise
        return value

    def _retry(self) -> Retry | None:
        agent = self._context.agent
        return self._context.task.retry or (agent.retry if agent is not None else None)

    async def _fall_back(self, failed: Ended) -> Ended:
        """What the first stand-in gives that can; the failure itself if none can."""
        trail = self._context.trail
        for fallback in self._gate.policies.fallback:
            began_us = trail.now_us() if trail is not None else 0
            try:
                ended = await self._stand_in(fallback, failed)
            except (UnknownAgent, UnknownAgentType) as unknown:
                _log.warning("task.nobody_stands_in %s: %s", self._context.task.id, unknown)
                continue
            if ended is not None and ended.state == "succeeded":
                _log.warning("task.fell_back %s on %s", self._context.task.id, fallback)
                error = str(ErrorInfo.of(failed.error)) if failed.error is not None else ""
                self._again.tell("task.fell_back", fallback=str(fallback), error=error)
                if trail is not None:
                    trail.since("fallback", began_us, to=str(fallback))
                return ended._replace(
                    began_s=self._again.began_s, duration_s=self._clock.monotonic() - self._again.began_s
                )
        return failed

    async def _stand_in(self, fallback: Fallback, failed: Ended) -> Ended | None:
        context, gate = self._context, self._gate
        if fallback.has_value:
            output = await kept(context, fallback.value)
            return failed._replace(state="succeeded", output=output, error=None, agent_id=None)
        if fallback.cached_s is not None:
            found = await recall(
                context.cache_key(gate.version), context.task.id, gate.tools.store, age_s=fallback.cached_s
            )
            return found and failed._replace(state="succeeded", output=found[0], error=None, agent_id=None)
        pool = gate.stand_ins(fallback)
        slot = await wait_for_slot(context, pool)
        context.next_attempt()
        if pool.gate is None:
            return await perform(context, slot, self._clock, self._listener)
        work = GatedWork(context, pool.gate, self._clock, self._listener, only=fallback.agent, stands_in=True)
        return await work.perform(slot)

    def _ended(self, state: Any, output: Any, error: BaseException | None, agent_id: AgentId | None) -> Ended:
        duration_s = self._clock.monotonic() - self._again.began_s
        return Ended(state, output, error, self._made, agent_id, self._again.began_s, duration_s)


class _Standing:
    """Before the gate with a slot in hand: no agent is at work on it yet."""

    __slots__ = ("_pool",)

    def __init__(self, pool: TypeSlots) -> None:
        self._pool: TypeSlots | None = pool
        pool.held_up += 1

    def end(self) -> None:
        """Through, or away; once."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.held_up -= 1
