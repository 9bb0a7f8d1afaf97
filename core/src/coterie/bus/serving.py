"""Handle what a subscription receives, as a service does: without end, whatever comes and whatever fails."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias, cast

from coterie._json import JsonValue
from coterie._threads import in_thread
from coterie.bus.received import Received, said
from coterie.bus.subscription import Subscription
from coterie.bus.wire import UNREADABLE
from coterie.errors import PolicyError, Refused, Unavailable
from coterie.telemetry.recording import is_recording
from coterie.work import Work

__all__ = ["Handler", "serve"]

# Called with an event, and with how it was received where it takes two; what it gives is the answer.
Handler: TypeAlias = Callable[..., Any]
_Call: TypeAlias = Callable[[Received], Awaitable[JsonValue]]

_MOST_AT_ONCE = 1000
# How long a refusal is waited for, whatever it says: neither without any pause, nor for longer than stores wait.
_LEAST_REFUSED_S, _LONGEST_REFUSED_S = 0.05, 86_400.0


async def serve(
    subscription: Subscription,
    handler: Handler,
    *,
    concurrency: int,
    timeout_s: float | None,
    stop: asyncio.Event | None,
    ready: asyncio.Event | None,
) -> None:
    """See `EventBus.serve`."""
    if type(concurrency) is not int or not 1 <= concurrency <= _MOST_AT_ONCE:
        raise PolicyError(f"concurrency is {concurrency!r}; give a whole number from 1 to {_MOST_AT_ONCE}")
    if timeout_s is not None and not 0 < timeout_s < float("inf"):
        raise PolicyError(f"timeout_s is {timeout_s!r}; give seconds > 0, or None")
    service = _Service(subscription, _called(handler), timeout_s)
    async with _begun(subscription, stop):
        if ready is not None:
            ready.set()
        if concurrency == 1:
            await service.work()
        else:
            await _together(service, concurrency)


class _Service:
    """One who handles; the same may work several times at once."""

    def __init__(self, subscription: Subscription, call: _Call, timeout_s: float | None) -> None:
        self._subscription = subscription
        self._call = call if timeout_s is None else partial(_within, call, timeout_s)

    async def work(self) -> None:
        """Handle one event after the other, until nothing more comes."""
        subscription, call = self._subscription, self._call
        while (received := subscription.ready() or await subscription.next()) is not None:
            try:
                if is_recording():
                    is_answered = await self._traced(received)
                else:
                    is_answered = await self._replied(received, await call(received))
            # The handler's own, whatever it is: the end of a delivery, not of the service. Others are raised again.
            except BaseException as error:  # noqa: BLE001
                await self._failed(received, error)
            else:
                # Who asks is told by whoever gets it next: it goes back with what is held.
                if is_answered:
                    subscription.settle_done(received)

    async def _traced(self, received: Received) -> bool:
        """Handle it, and have it answered, within its span; as `_replied`."""
        from coterie.telemetry.bus_spans import processing

        with processing(received, self._subscription.topic, self._subscription.group):
            return await self._replied(received, await self._call(received))

    async def _replied(self, received: Received, answer: JsonValue) -> bool:
        """Whether nobody waits for an answer any more; not if it is to end before the store takes that."""
        if answer is None or received.event.reply_to is None:
            return True
        return await self._patiently(partial(received.reply, answer))

    async def _failed(self, received: Received, error: BaseException) -> None:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError):
            # What the handler waited for may have been cancelled, and not this.
            if task is None or task.cancelling():
                raise error
        elif not isinstance(error, Exception):
            raise error
        if isinstance(error, UNREADABLE):
            await self._settle(received, partial(received.reject, said(error)))
        elif isinstance(error, Refused):
            wait_s = min(max(_LEAST_REFUSED_S, error.retry_after_s), _LONGEST_REFUSED_S)
            await self._settle(received, partial(received.release, retry_in_s=wait_s))
        else:
            await self._settle(received, partial(received.fail, said(error)))

    async def _settle(self, received: Received, act: Callable[[], Awaitable[object]]) -> None:
        # A handler may have said itself what became of it, and failed then.
        if not received.is_settled:
            await self._patiently(act)

    async def _patiently(self, act: Callable[[], Awaitable[object]]) -> bool:
        """Until the store answers, or it is to end: then others get what is held. Whether it answered."""
        while True:
            try:
                await act()
            except Unavailable as error:
                if self._subscription.is_stopped:
                    return False
                await self._subscription.wait_for_store(error)
            else:
                return True


async def _within(call: _Call, timeout_s: float, received: Received) -> JsonValue:
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await call(received)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TimeoutError(f"the handler took longer than {timeout_s:g} s") from error


@asynccontextmanager
async def _begun(subscription: Subscription, stop: asyncio.Event | None) -> AsyncIterator[None]:
    """The subscription, begun however long the store takes to answer, and stopped when it is to be."""
    aside = Work()
    if stop is not None:
        aside.start(_stopped(subscription, stop))
    try:
        while not subscription.is_stopped:
            try:
                await subscription.__aenter__()
            except Unavailable as error:
                await subscription.wait_for_store(error)
            else:
                break
        try:
            yield
        finally:
            await subscription.__aexit__(None, None, None)
    finally:
        await aside.aclose(0.0)


async def _stopped(subscription: Subscription, stop: asyncio.Event) -> None:
    await stop.wait()
    subscription.stop()


async def _together(service: _Service, concurrency: int) -> None:
    """Several at once, who end together when one of them fails, which only a defect or a damaged store makes it do."""
    tasks = [asyncio.ensure_future(service.work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _called(handler: Handler) -> _Call:
    """Call a handler with as much as it takes; a plain function in a thread of its own."""
    both = _takes_both(handler)
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004
        if both:
            return lambda received: handler(received.event, received)
        return lambda received: handler(received.event)

    async def call(received: Received) -> JsonValue:
        given = (received.event, received) if both else (received.event,)
        result = await in_thread(handler, *given)
        return cast("JsonValue", await result if inspect.isawaitable(result) else result)

    return call


def _takes_both(handler: Handler) -> bool:
    """Whether it needs a second argument, or has one called `received`."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False
    placed = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return len([one for one in placed if one.default is one.empty]) > 1 or any(
        one.name == "received" for one in placed[1:2]
    )
