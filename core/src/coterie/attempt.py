"""Perform one unit of work (a task, or one item of a foreach): attempts, time-outs, retries."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from coterie._json import JsonValue
from coterie.agent import to_json
from coterie.clock import Clock
from coterie.context import TaskContext
from coterie.errors import ArtifactError, CommandFailed, Diverged, Final, Misuse, TaskTimedOut, WorkTakenOver
from coterie.events import Event, Listener
from coterie.ids import AgentId, AgentType, ItemKey, TaskState, item_name
from coterie.ref import Ref
from coterie.result import ErrorInfo
from coterie.slots import Slot, TypeSlots
from coterie.task import Retry
from coterie.telemetry import logs
from coterie.trail import Trail

if TYPE_CHECKING:
    from coterie.pipeline.caller import Caller

__all__ = [
    "Ended",
    "asked_s",
    "back_off_s",
    "hand_back",
    "is_transient",
    "item_of",
    "kept",
    "named",
    "note_call",
    "perform",
    "raise_if_cancelled",
    "raise_if_late",
    "tell_retry",
    "wait_for_slot",
]

_log = logs.guarded("coterie.task")

# Nobody waits for longer, whatever an error asks for.
_LONGEST_S = 1e9
_FOR_GOOD = (Final, Misuse, ArtifactError, WorkTakenOver, Diverged)


class Ended(NamedTuple):
    """How one unit of work ended. A tuple, because thousands of them are made for every one that is looked at.

    began_s: on the monotonic clock.
    """

    state: TaskState
    output: JsonValue | Ref
    error: BaseException | None
    attempts: int
    agent_id: AgentId | None
    began_s: float
    duration_s: float


# Half the price of calling the class: the values are given in order, nothing is checked.
_ended = cast("Callable[[tuple[Any, ...]], Ended]", partial(tuple.__new__, Ended))


async def perform(context: TaskContext, slot: Slot, clock: Clock, listener: Listener | None) -> Ended:
    """Run the agent until it succeeds, fails for good, or its attempts are used up; give the slot back.

    Raises:
        asyncio.CancelledError: the caller cancelled it. No `Exception` comes out: each becomes the result.
    """
    if logs.readers and logs.bound() is not context:
        return await logs.bound_to(context, partial(perform, context, slot, clock, listener))
    if not slot.pool.is_ordinary:
        return await _perform_otherwise(context, slot, clock, listener)
    began = since = clock.monotonic()
    context.pool = slot.pool
    run, trail = context.run, None
    while True:
        agent = context.agent = slot.agent
        call = slot.call if run.trace is None else partial(run.trace.call, slot.call, agent)
        timeout_s = context.task.timeout_s or agent.timeout_s
        scope: asyncio.Timeout | None = None
        try:
            if timeout_s is None:
                context.deadline = None
                value = await call(context.input, context)
            else:
                context.deadline = clock.now() + timeout_s
                async with asyncio.timeout(timeout_s) as scope:
                    value = await call(context.input, context)
                raise_if_late(scope)
            output = value if value is None and run.artifacts is None else await kept(context, value)
        # Every failure of an agent becomes a result, `sys.exit()` included; whether it is tried again is decided below.
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001
            raise_if_cancelled(error)
            timed_out = scope is not None and scope.expired()
            failure = TaskTimedOut(context.task.id, timeout_s or 0.0) if timed_out else error
        else:
            if trail is not None:
                note_call(trail, context, clock.monotonic() - since)
            return _ended(("succeeded", output, None, context.attempt, agent.id, began, clock.monotonic() - began))
        finally:
            hand_back(context, slot)
        retry = context.task.retry or agent.retry
        is_last = retry is None or context.attempt >= retry.max_attempts or not is_transient(failure)
        # Of an only attempt the record itself says all.
        trail = trail if is_last else context.trail
        if trail is not None:
            note_call(trail, context, clock.monotonic() - since, failure)
        if retry is None or is_last:
            _log.warning("task.failed %s of %s: %r", named(context), context.run.workflow_id, failure, exc_info=failure)
            return Ended("failed", None, failure, context.attempt, agent.id, began, clock.monotonic() - began)
        slot = await _back_off(context, slot, retry, failure, listener)
        since = clock.monotonic()


async def _perform_otherwise(context: TaskContext, slot: Slot, clock: Clock, listener: Listener | None) -> Ended:
    """Behind a gate, or elsewhere."""
    if slot.pool.gate is None:
        from coterie.remote.placing import perform_remotely

        return await perform_remotely(context, slot, clock)
    from coterie.pipeline.gated import GatedWork

    return await GatedWork(context, slot.pool.gate, clock, listener).perform(slot)


async def kept(context: TaskContext, value: Any) -> JsonValue | Ref:
    """What stays of an agent's return value: plain JSON, stored where the run has a store."""
    output = to_json(value, f"the output of {context.task.id!r}")
    store = context.run.artifacts
    if store is None:
        return output
    began_s = context.run.now()
    ref = await store.put(output)
    if not ref.is_inline and (trail := context.trail) is not None:
        trail.since("write", int(began_s * 1e6), bytes=ref.size_bytes)
    return ref


def note_call(trail: Trail, context: TaskContext, took_s: float, error: BaseException | None = None) -> None:
    """Note a call of an agent that ends now, with what it used beyond the calls that were noted before."""
    agent, took_us, used = context.agent, int(took_s * 1e6), context.usage
    before = [lap.facts for lap in trail.laps if lap.kind == "call"]
    facts: dict[str, int] = {}
    for name, total in (
        ("tokens_in", used.input_tokens),
        ("tokens_out", used.output_tokens),
        ("cost", used.cost_micros),
    ):
        more = total - sum(int(earlier.get(name, 0)) for earlier in before)
        if more > 0:
            facts[name] = more
    named = {} if agent is None else {"agent": agent.id, "type": agent.type}
    trail.note("call", trail.now_us() - took_us, took_us, attempt=context.attempt, **named, error=error, **facts)


def raise_if_cancelled(error: BaseException) -> None:
    """Go on being cancelled, also where the agent made an error of its own out of it.

    A CancelledError that nobody asked for is the agent's: it let an inner cancellation out.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise error if isinstance(error, asyncio.CancelledError) else asyncio.CancelledError from error


def raise_if_late(scope: asyncio.Timeout) -> None:
    """Raise the time-out that an agent swallowed."""
    # An agent that answers the cut-off with a value has still taken too long.
    if scope.expired():
        raise TimeoutError


async def _back_off(
    context: TaskContext, slot: Slot, retry: Retry, error: BaseException, listener: Listener | None
) -> Slot:
    """Wait without a slot, then queue for one again."""
    wait_s = max(back_off_s(retry, context.attempt), asked_s(error))
    tell_retry(context, wait_s, error, listener, agent_type=context.task.agent_type)
    trail = context.trail
    began_us = trail.now_us() if trail is not None else 0
    await asyncio.sleep(wait_s)
    if trail is not None:
        trail.since("backoff", began_us, attempt=context.attempt, error=error)
    context.next_attempt()
    return await wait_for_slot(context, slot.pool)


async def wait_for_slot(context: TaskContext, pool: TypeSlots) -> Slot:
    """Wait for a slot of this process, and note how long that took."""
    trail, priority = context.trail, context.task.priority
    began_us = trail.now_us() if trail is not None else 0
    slot = await pool.acquire(priority)
    if trail is not None:
        trail.waited("queue", began_us, place="local", priority=priority)
    return slot


def hand_back(context: TaskContext, slot: Slot) -> None:
    """Give the slot back; where the agent's thread runs on, only when that ends."""
    if context.thread is None:
        slot.release()
    else:
        context.abandon(slot)


def named(caller: Caller) -> str:
    """What logs call it: its task, and which item of it, if it is one."""
    return " ".join([caller.task_id, *item_of(caller).values()])


def item_of(caller: Caller) -> dict[str, str]:
    """`item`, as events have it; nothing where it is none."""
    key: ItemKey | None = getattr(caller, "item_key", None)
    return {} if key is None else {"item": item_name(key, getattr(caller, "item_index", None) or 0)}


def tell_retry(
    caller: Caller, wait_s: float, error: BaseException, listener: Listener | None, *, agent_type: AgentType
) -> None:
    """Log another attempt, and tell the listener."""
    # Until a task has failed for good, nothing else says why its agents do.
    _log.warning("task.retrying %s in %.3f s after %r", named(caller), wait_s, error)
    if listener is not None:
        told = {"attempt": caller.attempt, "wait_s": wait_s, "error": str(ErrorInfo.of(error))}
        fields = {**told, "agent_type": agent_type, **item_of(caller)}
        listener(Event("task.retrying", caller.workflow_id, caller.task_id, fields))


def asked_s(error: BaseException) -> float:
    """The wait that an error asks for by `retry_after_s`; 0 where it names none, or what is no time to wait."""
    wait_s = getattr(error, "retry_after_s", None)
    if isinstance(wait_s, bool) or not isinstance(wait_s, (int, float)) or not 0 < wait_s < math.inf:
        return 0.0
    return float(min(wait_s, _LONGEST_S))


def back_off_s(retry: Retry, attempt: int) -> float:
    """How long to wait after an attempt (counted from 1): full jitter."""
    # Imported on the first failure: a run without failures pays nothing for retry machinery.
    from tenacity import RetryCallState, wait_random_exponential

    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]  # only its number is read
    state.attempt_number = attempt
    return float(wait_random_exponential(multiplier=retry.base_s, max=retry.cap_s)(state))


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: a time-out, a program that ended badly, an agent's own error; not misuse."""
    if isinstance(error, CommandFailed):
        # Without an exit code the program never ran to its end: it is missing, or writes too much.
        return error.exit_code is not None
    return isinstance(error, TaskTimedOut) or not isinstance(error, _FOR_GOOD)
