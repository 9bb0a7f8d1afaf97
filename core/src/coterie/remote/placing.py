"""Perform one unit of work elsewhere: ask for it, wait for a worker's word, and end as the worker says.

The time-out, the retries and the policies of the task are the worker's affair: who asks holds no more than a slot.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie.agent import Agent
from coterie.attempt import Ended, hand_back, kept, named, raise_if_cancelled
from coterie.clock import Clock
from coterie.context import TaskContext
from coterie.errors import CallAbandoned, CallCancelled, Misuse, RemoteFailed, TopicFull, Unavailable
from coterie.ids import AgentId
from coterie.journal import Intent
from coterie.journal.owner import new_owner, told
from coterie.ref import Ref
from coterie.remote.agent import RemoteAgent
from coterie.remote.call import Call, CallItem, CallStatus
from coterie.remote.calls import RemoteCalls
from coterie.remote.course import note_course, note_unheard
from coterie.remote.returns import Returns
from coterie.slots import Slot
from coterie.task import Task
from coterie.telemetry.recording import unsampled_here

if TYPE_CHECKING:
    from coterie.result import TaskResult

__all__ = ["perform_remotely"]

_log = logging.getLogger("coterie.task")

# A store that fails, or a queue that is full, is asked again for so long.
INSIST_S = 300.0
# So often a call is asked for anew whose record is gone, as with a store that was emptied.
_MOST_ROUNDS = 3
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.1, 2.0
# Each time is told as another task that is asked for; and a queue of so many is not worked off soon.
_LONGEST_FULL_S = 15.0
_CANCEL_S = 5.0


async def perform_remotely(context: TaskContext, slot: Slot, clock: Clock) -> Ended:
    """As `coterie.attempt.perform`: the end that a worker gives."""
    began = clock.monotonic()
    context.pool, context.agent = slot.pool, slot.agent
    attempts: int = context.attempt
    agent_id: AgentId | None = slot.agent.id
    output: JsonValue | Ref = None
    failure: BaseException | None = None
    try:
        trace = context.run.trace
        if trace is None:
            status = await _called(context, slot.agent)
        else:
            with trace.calling(slot.agent) as tell:
                status = await _called(context, slot.agent)
                tell(status.worker)
        if status.usage:
            context.report_usage(status.usage)
        _note(context, status)
        result = _result_of(status)
        # With those of the agents here that it stands in for.
        attempts, agent_id = context.attempt - 1 + result.attempts, result.agent_id
        if result.state != "succeeded":
            error = result.error
            failure = RemoteFailed(
                error.type if error else result.state,
                error.message if error else f"the worker says {result.state!r}",
                status.worker or "",
            )
        elif isinstance(result.output, Ref) or context.run.artifacts is None:
            output = result.output
        else:
            output = await kept(context, result.output)
    # As of every agent, what goes wrong is the task's end.
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
        raise_if_cancelled(error)
        failure = error
    finally:
        hand_back(context, slot)
    duration_s = clock.monotonic() - began
    if failure is None:
        return Ended("succeeded", output, None, attempts, agent_id, began, duration_s)
    _log.warning("task.failed %s of %s: %r", named(context), context.run.workflow_id, failure)
    return Ended("failed", None, failure, attempts, agent_id, began, duration_s)


def _note(context: TaskContext, status: CallStatus) -> None:
    """Note how long no worker had it, who has had it since, and what it went through there."""
    trail = context.trail
    if trail is None:
        return
    if status.begun_at is None:
        trail.since("queue", int(status.submitted_at * 1e6), priority=context.task.priority, place="worker")
        return
    away = context.run.remote().outage.stretches() if context.run.remote is not None else []
    note_course(trail, status.course, [*away, *status.away])
    trail.extend(status.laps, status.more, is_traced=status.is_traced)
    unsaid = () if status.unsaid is None else (status.unsaid,)
    trail.extend(unsaid)
    # A worker of an earlier version does not say when its agent was at work.
    if status.laps:
        note_unheard(trail, max(lap.ended_us for lap in (*status.laps, *unsaid)), away)


def _result_of(status: CallStatus) -> TaskResult:
    """See `RemoteCalls.wait`."""
    if status.phase == "cancelled":
        raise CallCancelled(status.id, status.reason or "somebody")
    if status.given_up == "abandoned":
        raise CallAbandoned(status.id, status.reason)
    if status.result is None:
        raise status.late()
    return status.result


async def _called(context: TaskContext, agent: Agent) -> CallStatus:
    if context.run.remote is None:
        raise Misuse(
            f"{context.task.id!r} is for a worker, and this orchestrator knows no way to one: give it "
            "remote=RemoteCalls(...), or use a Runtime with a store that workers share"
        )
    calls = context.run.remote()
    owner = new_owner()
    call = _call_of(context, agent, calls, owner)
    heard = Returns(named(context)).heard
    try:
        for _ in range(_MOST_ROUNDS - 1):
            await _submitted(context, calls, call, owner)
            try:
                return await calls.ended(call.id, heard=heard)
            except CallAbandoned as error:
                _log.warning("task.forgotten %s: asking anew: %s", context.task.id, error)
        await _submitted(context, calls, call, owner)
        return await calls.ended(call.id, heard=heard)
    except asyncio.CancelledError:
        # Only if nobody else has joined it, such as another process that goes on with the run.
        await _cancelled(calls, call, owner)
        raise


async def _submitted(context: TaskContext, calls: RemoteCalls, call: Call, owner: str) -> None:
    trail = context.trail
    began_us = trail.now_us() if trail is not None else 0
    status, held_up_by = await _submitted_at_last(calls, call, owner)
    if trail is None:
        return
    if isinstance(held_up_by, TopicFull):
        trail.since("queue", began_us, priority=call.task.priority, place="worker")
    elif held_up_by is not None:
        trail.since("wait", began_us, **{"for": "store"})
    if status.joined and all(lap.kind != "claim" for lap in trail.laps):
        # Of a run that one process has as a whole, nothing else tells that another had asked for this.
        trail.note("claim", trail.now_us(), 0, after=told(status.joined), why="unfinished")


async def _submitted_at_last(
    calls: RemoteCalls, call: Call, owner: str
) -> tuple[CallStatus, Unavailable | TopicFull | None]:
    """How it stands, and why it had to be tried again, if it had."""
    held_up_by: Unavailable | TopicFull | None = None
    loop = asyncio.get_running_loop()
    wait_s, give_up_at = _FIRST_RETRY_S, loop.time() + INSIST_S
    full_at = loop.time() + call.patience_s
    while True:
        asked_at = loop.time()
        try:
            status = await calls.submit(call, owner=owner)
        except (Unavailable, TopicFull) as error:
            held_up_by = error
            if loop.time() + wait_s > (full_at if isinstance(error, TopicFull) else give_up_at):
                raise
            if isinstance(error, TopicFull):
                _log.warning("task.not_submitted %s: asking again in %.1f s: %s", call.task.id, wait_s, error)
                longest_s = _LONGEST_FULL_S
            else:
                calls.outage.failed(call.id, error, after_s=loop.time() - asked_at)
                longest_s = _LONGEST_RETRY_S
        else:
            calls.outage.answered()
            return status, held_up_by
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, longest_s)


async def _cancelled(calls: RemoteCalls, call: Call, owner: str) -> None:
    work = asyncio.create_task(calls.cancel(call.id, owner=owner, by=f"the run {call.workflow_id!r}"))
    loop = asyncio.get_running_loop()
    until = loop.time() + _CANCEL_S
    while not work.done() and (left_s := until - loop.time()) > 0:
        # Whoever is cancelled twice still has this to do: its worker would go on for nobody.
        with suppress(asyncio.CancelledError):
            await asyncio.wait({work}, timeout=left_s)
    if not work.done():
        work.cancel()
        _log.warning("task.not_cancelled %s: its worker goes on with the call %s", call.task.id, call.id)
    elif not work.cancelled() and work.exception() is not None:
        _log.warning("task.not_cancelled %s: %s", call.task.id, work.exception())


def _call_of(context: TaskContext, agent: Agent, calls: RemoteCalls, owner: str) -> Call:
    run, unit = context.run, context.unit
    if unit is None:
        run.nonce = run.nonce or os.urandom(8).hex()
    # A failure that was recorded, and is to be mended, is not joined.
    before = unit.before.at if unit is not None and unit.before is not None else 0
    handler = agent.handler
    assert isinstance(handler, RemoteAgent)
    call = partial(
        Call,
        workflow_id=run.workflow_id,
        task=_task_of(context, agent),
        upstream=context.upstream,
        params=run.params,
        epoch=run.epoch if unit is None else unit.epoch,
        keeps="steps",
        intent=Intent(strict=run.book is not None and run.book.is_strict),
        idempotency_key=context.idempotency_key,
        stores_outputs=run.artifacts is not None,
        patience_s=handler.patience_s,
        correlation_id=run.correlation_id,
        traceparent=run.trace.traceparent() if run.trace is not None else unsampled_here(run),
        submitted_by=told(owner),
    )
    call_id = Call.id_of(
        namespace=calls.namespace,
        workflow_id=run.workflow_id,
        task_id=context.task.id,
        item_key=context.item_key,
        demand=run.epoch if unit is None else unit.epoch,
        fingerprint=context.fingerprint,
        more=f"{run.nonce}:{before}",
    )
    if context.item_index is None:
        return call(id=call_id, instance=context.item_key)
    return call(id=call_id, item=CallItem(context.item_key or "", context.item_index, context.source_item))


def _task_of(context: TaskContext, agent: Agent) -> Task:
    """What the worker is to do: the same, without what was decided here."""
    task, foreach = context.task, context.task.foreach
    if foreach is not None and foreach.items is not None:
        # Each item travels by itself.
        foreach = replace(foreach, items=())
    return replace(
        task,
        agent_type=agent.type,
        timeout_s=task.timeout_s or agent.timeout_s,
        retry=task.retry or agent.retry,
        foreach=foreach,
        compensation=None,
        placement=None,
    )
