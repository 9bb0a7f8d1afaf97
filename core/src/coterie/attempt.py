"""Perform one unit of work (a task, or one item of a foreach): attempts, time-outs, retries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from coterie._json import JsonValue
from coterie.agent import to_json
from coterie.clock import Clock
from coterie.context import TaskContext
from coterie.errors import ArtifactError, CommandFailed, Diverged, Final, Misuse, TaskTimedOut, WorkTakenOver
from coterie.events import Event, Listener
from coterie.ids import AgentId, TaskState
from coterie.ref import Ref
from coterie.slots import Slot
from coterie.task import Retry

if TYPE_CHECKING:
    from coterie.pipeline.caller import Caller

__all__ = [
    "Ended",
    "back_off_s",
    "hand_back",
    "is_transient",
    "kept",
    "perform",
    "raise_if_cancelled",
    "raise_if_late",
    "tell_retry",
]

_log = logging.getLogger("coterie.task")

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
    if not slot.pool.is_ordinary:
        return await _perform_otherwise(context, slot, clock, listener)
    began = clock.monotonic()
    context.pool = slot.pool
    while True:
        agent = context.agent = slot.agent
        timeout_s = context.task.timeout_s or agent.timeout_s
        scope: asyncio.Timeout | None = None
        try:
            if timeout_s is None:
                context.deadline = None
                value = await slot.call(context.input, context)
            else:
                context.deadline = clock.now() + timeout_s
                async with asyncio.timeout(timeout_s) as scope:
                    value = await slot.call(context.input, context)
                raise_if_late(scope)
            output = value if value is None and context.run.artifacts is None else await kept(context, value)
        # Every failure of an agent becomes a result, `sys.exit()` included; whether it is tried again is decided below.
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001
            raise_if_cancelled(error)
            timed_out = scope is not None and scope.expired()
            failure = TaskTimedOut(context.task.id, timeout_s or 0.0) if timed_out else error
        else:
            return _ended(("succeeded", output, None, context.attempt, agent.id, began, clock.monotonic() - began))
        finally:
            hand_back(context, slot)
        retry = context.task.retry or agent.retry
        if retry is None or context.attempt >= retry.max_attempts or not is_transient(failure):
            _log.warning(
                "task.failed %s of %s: %r", context.task.id, context.run.workflow_id, failure, exc_info=failure
            )
            return Ended("failed", None, failure, context.attempt, agent.id, began, clock.monotonic() - began)
        slot = await _back_off(context, slot, retry, failure, listener)


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
    return output if store is None else await store.put(output)


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
    wait_s = max(back_off_s(retry, context.attempt), getattr(error, "retry_after_s", None) or 0.0)
    tell_retry(context, wait_s, error, listener)
    await asyncio.sleep(wait_s)
    context.next_attempt()
    return await slot.pool.acquire(context.task.priority)


def hand_back(context: TaskContext, slot: Slot) -> None:
    """Give the slot back; where the agent's thread runs on, only when that ends."""
    if context.thread is None:
        slot.release()
    else:
        context.abandon(slot)


def tell_retry(caller: Caller, wait_s: float, error: BaseException, listener: Listener | None) -> None:
    """Log another attempt, and tell the listener."""
    _log.info("task.retrying %s in %.3f s after %r", caller.task_id, wait_s, error)
    if listener is not None:
        fields = {"attempt": caller.attempt, "wait_s": wait_s, "error": f"{type(error).__name__}: {error}"}
        listener(Event("task.retrying", caller.workflow_id, caller.task_id, fields))


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
