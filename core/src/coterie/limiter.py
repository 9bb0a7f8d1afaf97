"""Keep to rate limits together with the whole fleet: first come, first served, one sleep for each that waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from coterie._rules import quota
from coterie._rules.decided import Operation
from coterie._rules.quota import LONGEST_WAIT_S, Quota, Reserved
from coterie._rules.timeline import SECOND
from coterie.clock import Clock, SystemClock
from coterie.errors import Misuse, QuotaSpent, Unavailable
from coterie.errors.root import in_words
from coterie.events import Listener
from coterie.ids import check_name
from coterie.ports import StateStore
from coterie.shared_state import SharedState, StoreFailure
from coterie.work import Work

__all__ = ["Quota", "RateLimiter", "Reservation"]

_log = logging.getLogger("coterie.limiter")

# What is given back or settled is waited for so long; then it goes on by itself.
SETTLE_S = 5.0
# A refusal is believed for so long, and the store left alone: others may give something back at any time.
BELIEVED_S = 1.0
# How soon to ask again, at least, where a lot is being fetched.
AGAIN_S = 0.01
# What a process took in advance is used within so long, or lost.
LEASE_S = 1.0
# Most calls cost the same as one before: so many different ones are remembered, with what the store is asked then.
REMEMBERED = 256


class _Refusal(NamedTuple):
    """Who asks for `costs` or more cannot go before `ready_s`, as far as was known until `until_s` (monotonic)."""

    costs: Mapping[str, int]
    ready_s: float
    until_s: float


class Reservation:
    """A place in a limiter's schedule. Await `wait` before going; settle what was really used, or cancel.

    wait_s: seconds from when it was made. ready_s: the same as an instant of the monotonic clock.
    """

    __slots__ = ("_ended", "_limiter", "costs", "ready_s", "reserved", "wait_s")

    def __init__(self, limiter: RateLimiter, costs: Mapping[str, int], reserved: Reserved | None) -> None:
        self._limiter = limiter
        self._ended = reserved is None
        self.costs = costs
        self.reserved = reserved
        self.wait_s = 0.0 if reserved is None else reserved.wait_us / SECOND
        self.ready_s = limiter.monotonic() + self.wait_s

    def __repr__(self) -> str:
        return f"Reservation({self._limiter.name!r}, {dict(self.costs)!r}, wait_s={self.wait_s:g})"

    async def settle(self, **actual: int) -> None:
        """Tell what was really used of a dimension, as `tokens=812`. Once: a second time nothing happens.

        What was not used goes to others as far as time has not taken it; what was used beyond the estimate is taken
        from those who come next. A store that fails meanwhile is logged, not raised.
        """
        if not self._ended:
            self._ended = True
            await self._limiter._settle(self, actual)  # noqa: SLF001  # one class in two halves

    async def cancel(self) -> None:
        """Give the place back, unused. Nobody who came later goes later for it, or before their turn."""
        if not self._ended:
            self._ended = True
            await self._limiter._give_back(self)  # noqa: SLF001  # one class in two halves


class Slot:
    """What `RateLimiter.slot` gives: `report` says what was really used."""

    __slots__ = ("actual", "reservation")

    def __init__(self, reservation: Reservation) -> None:
        self.reservation = reservation
        self.actual: dict[str, int] = {}

    def report(self, **actual: int) -> None:
        """Add to what was used of a dimension, as `tokens=812`."""
        for name, used in actual.items():
            self.actual[name] = self.actual.get(name, 0) + used


class RateLimiter:
    """One rate limit, for one event loop at a time. All that give a store and the same name share it.

    quotas: one, of `requests`, or several by dimension, of which a call takes all or nothing.
    max_wait_s: how long a call waits for its turn, at most a day, unless it says otherwise itself.
    lease: take so many units from the store at once and hand them out here, for a second. A fleet of P processes may
        then exceed the quota by P * (lease - 1) in a window. For limiters of one dimension.
    on_store_failure: while the store does not answer, "fail_closed" raises `Unavailable`, "fail_open" keeps to the
        quotas in this process alone.
    on_event: told of `state.store_failed` and `state.store_recovered`.

    Raises:
        Misuse: names or numbers that cannot work, or a store that is none.
    """

    def __init__(
        self,
        name: str,
        quotas: Quota | Mapping[str, Quota],
        *,
        store: StateStore | None = None,
        max_wait_s: float = 60.0,
        lease: int = 1,
        on_store_failure: StoreFailure = "fail_closed",
        on_event: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = check_name(name, "the rate limiter")
        self.quotas = {"requests": quotas} if isinstance(quotas, Quota) else dict(quotas)
        if not self.quotas or "max_wait_s" in self.quotas:
            raise Misuse(f"the rate limiter {name!r} needs quotas by dimension, such as 'requests', got {quotas!r}")
        for dimension in self.quotas:
            check_name(dimension, f"in the rate limiter {name!r}, the dimension")
        self.max_wait_s = _seconds(max_wait_s)
        self._clock = clock or SystemClock()
        self.monotonic = self._clock.monotonic
        longest_s = max(one.full_us for one in self.quotas.values()) / SECOND
        self._shared = SharedState(
            f"limit/{name}",
            store,
            # Untouched for so long it is as good as new: the longest wait, the longest pause, and all refilled.
            keep_s=longest_s + 2 * LONGEST_WAIT_S + 60.0,
            on_store_failure=on_store_failure,
            on_event=on_event,
            clock=self._clock,
        )
        self._lease = _checked_lease(lease, self.quotas)
        self._asked = _asked(self.quotas)
        self._left, self._left_until_s = 0, 0.0
        # When the lot that is being fetched may be used.
        self._ready_s = 0.0
        self._leasing = asyncio.Lock()
        self._refusal: _Refusal | None = None
        self._held_us = 0
        self._unsure = True
        # The event loop in which pauses are heard of.
        self._listening: asyncio.AbstractEventLoop | None = None
        self._returned: list[tuple[Reserved, dict[str, int]]] = []
        self._returning: asyncio.Task[None] | None = None
        self._work = Work()

    def __repr__(self) -> str:
        return f"RateLimiter({self.name!r}, {self.quotas!r})"

    async def acquire(self, *, max_wait_s: float | None = None, **costs: int) -> Reservation:
        """Wait for this call's turn; `costs` by dimension, as `tokens=1200`. A request counts as one.

        Raises:
            QuotaSpent: its turn would be more than `max_wait_s` away; `.retry_after_s` says when it no longer is.
            Misuse: a cost above the burst, or an unknown dimension.
            Unavailable: the store failed, and `on_store_failure` is "fail_closed".

        Cancelled while waiting, it gives its place back.
        """
        limit_s = self.max_wait_s if max_wait_s is None else _seconds(max_wait_s)
        if self._lease > 1:
            return await self._acquire_leased(self._costs(costs), limit_s)
        reservation = await self._reserve(self._costs(costs), limit_s)
        if reservation.wait_s:
            await self._wait(reservation, limit_s)
        return reservation

    async def reserve(self, *, max_wait_s: float | None = None, **costs: int) -> Reservation:
        """Take a place without waiting for it: go after `.wait_s`, or `cancel()` it. Raises as `acquire` does."""
        return await self._reserve(self._costs(costs), self.max_wait_s if max_wait_s is None else _seconds(max_wait_s))

    @asynccontextmanager
    async def slot(self, *, max_wait_s: float | None = None, **costs: int) -> AsyncIterator[Slot]:
        """Wait for a turn, do the work, and settle what the body `report`s; without a report the estimate stands."""
        slot = Slot(await self.acquire(max_wait_s=max_wait_s, **costs))
        try:
            yield slot
        finally:
            if slot.actual:
                await slot.reservation.settle(**slot.actual)

    async def pause(self, seconds: float) -> None:
        """Let nobody go for so long, in the whole fleet: what a service's `Retry-After` asks for.

        The schedule moves by as much, so that everybody keeps their place.
        """
        self._held_us = await self._shared.update(quota.pause(self.name, seconds))

    async def aclose(self) -> None:
        """Wait for what is being given back, within a bound, and stop listening; safe to call twice."""
        await self._work.aclose(SETTLE_S)
        if self._listening is not None and self._shared.store is not None:
            self._listening = None
            try:
                await self._shared.store.unsubscribe(self._shared.key, self._on_pause)
            except Unavailable as error:
                _log.info("limiter.not_unsubscribed %s: %s", self.name, error)

    # Asking

    def _costs(self, costs: dict[str, int]) -> dict[str, int]:
        if "requests" in self.quotas and "requests" not in costs:
            costs["requests"] = 1
        return costs

    async def _reserve(self, costs: dict[str, int], max_wait_s: float) -> Reservation:
        operation = self._operation(costs, max_wait_s)
        if self._refusal is not None:
            self._refuse_if_known(self._refusal, costs, max_wait_s)
        # Cancelled here, the place may be taken all the same; it passes by itself.
        reserved = await self._shared.update(operation)
        if reserved.granted:
            self._refusal = None
            if reserved.held_us > self._held_us:
                self._held_us = reserved.held_us
            elif reserved.wait_us and reserved.held_us < self._held_us:
                # A pause since then, or a state that began anew: the state itself will tell.
                self._unsure = True
            return Reservation(self, costs, reserved)
        now = self.monotonic()
        wait_s = reserved.wait_us / SECOND
        self._refusal = _Refusal(costs, now + wait_s, now + min(wait_s, BELIEVED_S))
        raise self._spent(wait_s - max_wait_s, max_wait_s)

    def _operation(self, costs: Mapping[str, int], max_wait_s: float) -> Operation[Reserved]:
        for cost in costs.values():
            if type(cost) is not int:
                # Never remembered, and raises: True and 1.0 would be taken for 1.
                return quota.reserve(self.quotas, costs, max_wait_s=max_wait_s)
        return self._asked(tuple(costs.items()), max_wait_s)

    def _refuse_if_known(self, known: _Refusal, costs: Mapping[str, int], max_wait_s: float) -> None:
        now = self.monotonic()
        if now >= known.until_s:
            return
        more_s = known.ready_s - now - max_wait_s
        if more_s > 0 and all(costs.get(name, 0) >= cost for name, cost in known.costs.items()):
            raise self._spent(more_s, max_wait_s)

    def _spent(self, retry_after_s: float, max_wait_s: float) -> QuotaSpent:
        return QuotaSpent(
            f"the rate limit {self.name!r} has no room within {max_wait_s:g} s; try again in {in_words(retry_after_s)}",
            retry_after_s=retry_after_s,
        )

    async def _acquire_leased(self, costs: dict[str, int], max_wait_s: float) -> Reservation:
        quota.charges(self.quotas, costs)
        ((_, cost),) = costs.items()
        if not self._leasing.locked() and self._take_leased(cost):
            return Reservation(self, costs, None)
        began_s = self.monotonic()
        if self._leasing.locked() and (more_s := self._ready_s - began_s - max_wait_s) > 0:
            raise self._spent(more_s, max_wait_s)
        try:
            # Whoever fetches the next lot may wait for it for longer than this caller would.
            async with asyncio.timeout(max_wait_s + BELIEVED_S):
                await self._leasing.acquire()
        except TimeoutError:
            more_s = self._ready_s - self.monotonic() - max_wait_s
            raise self._spent(max(more_s, AGAIN_S), max_wait_s) from None
        self._ready_s = 0.0
        try:
            if not self._take_leased(cost):
                batch = dict.fromkeys(costs, max(self._lease, cost))
                left_s = max(0.0, max_wait_s - (self.monotonic() - began_s))
                reservation = await self._reserve(batch, left_s)
                if reservation.wait_s:
                    self._ready_s = reservation.ready_s
                    await self._wait(reservation, left_s)
                self._left, self._left_until_s = batch[next(iter(batch))] - cost, self.monotonic() + LEASE_S
        finally:
            self._leasing.release()
        return Reservation(self, costs, None)

    def _take_leased(self, cost: int) -> bool:
        if cost > self._left or self.monotonic() >= self._left_until_s:
            return False
        self._left -= cost
        return True

    # Waiting

    async def _wait(self, reservation: Reservation, max_wait_s: float) -> None:
        """Sleep until the reservation's instant, and on where the limiter was paused meanwhile."""
        assert reservation.reserved is not None
        held_us, in_all_s = reservation.reserved.held_us, reservation.wait_s
        try:
            await self._listen()
            left_s = reservation.ready_s - self.monotonic()
            while left_s > 0:
                await asyncio.sleep(left_s)
                left_s = max(await self._held() - held_us, 0) / SECOND
                held_us += round(left_s * SECOND)
                in_all_s += left_s
                if in_all_s > max_wait_s:
                    raise self._spent(in_all_s - max_wait_s, max_wait_s)  # noqa: TRY301  # cancels the place, too
        except BaseException:  # raised again: whoever does not go must not keep the place
            await reservation.cancel()
            raise

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        if self._listening is loop or self._shared.store is None or self._shared.is_alone:
            return
        self._listening, self._unsure = loop, True
        try:
            await self._shared.store.subscribe(self._shared.key, self._on_pause)
        except Unavailable as error:
            self._listening = None
            _log.info("limiter.not_subscribed %s: pauses are looked for after each wait: %s", self.name, error)

    def _on_pause(self, message: str | None) -> None:
        self._unsure = message is None
        if message is not None:
            self._held_us = int(message)

    async def _held(self) -> int:
        """How long the schedule stood still, as far as is known; looked up where a message may have been missed."""
        if self._unsure or self._listening is None:
            # Before the look, so that what is missed during it is looked up the next time.
            self._unsure = self._listening is None
            known = self._held_us
            try:
                state, _ = await self._shared.read()
            except Unavailable:
                self._unsure = True
                return self._held_us
            held = state.get("held", 0) if state is not None else 0
            if self._held_us == known and isinstance(held, int):
                self._held_us = held
        return self._held_us

    # Giving back

    async def _settle(self, reservation: Reservation, actual: Mapping[str, int]) -> None:
        assert reservation.reserved is not None
        operation = quota.settle(self.quotas, reservation.reserved.number, reservation.costs, actual)
        if operation is not None:
            await self._work.within(SETTLE_S, self._tell("settled", operation))
            self._refusal = None

    async def _give_back(self, reservation: Reservation) -> None:
        assert reservation.reserved is not None
        self._returned.append((reservation.reserved, quota.charges(self.quotas, reservation.costs)))
        if self._returning is None or self._returning.done():
            self._returning = self._work.start(self._give_all_back())
        await asyncio.wait({self._returning}, timeout=SETTLE_S)
        self._refusal = None

    async def _give_all_back(self) -> None:
        # Those that are cancelled together are given back together, the newest first: then nothing is lost.
        await asyncio.sleep(0)
        returned, self._returned, self._returning = self._returned, [], None
        await self._tell("given_back", quota.cancel(returned))

    async def _tell(self, what: Literal["settled", "given_back"], operation: Operation[Any]) -> None:
        try:
            await self._shared.update(operation)
        except Unavailable as error:
            # Whoever waited too long, or used less than estimated, is no worse off; time gives it back.
            _log.warning("limiter.not_%s %s: %s", what, self.name, error)


def _asked(quotas: Mapping[str, Quota]) -> Callable[[tuple[tuple[str, int], ...], float], Operation[Reserved]]:
    def reserve(costs: tuple[tuple[str, int], ...], max_wait_s: float) -> Operation[Reserved]:
        return quota.reserve(quotas, dict(costs), max_wait_s=max_wait_s)

    return lru_cache(REMEMBERED)(reserve)


def _seconds(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise Misuse(f"max_wait_s is {value!r}; give seconds >= 0")
    return min(float(value), LONGEST_WAIT_S)


def _checked_lease(lease: int, quotas: Mapping[str, Quota]) -> int:
    if type(lease) is not int or lease < 1:
        raise Misuse(f"a lease is a whole number >= 1, got {lease!r}")
    if lease > 1 and (len(quotas) > 1 or lease > min(one.burst for one in quotas.values())):
        raise Misuse(f"a lease of {lease} needs a limiter of one dimension with a burst of at least as much")
    return lease
