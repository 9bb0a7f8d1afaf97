"""One process's part in the pool of one agent type: who waits here, what is held, and what the store must be told."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from coterie._rules.pool import Answer, Asked, Given, channel, key, turn
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.pool_status import PoolStatus, look
from coterie._rules.timeline import SECOND
from coterie.clock import Clock
from coterie.errors import CoterieError, LeaseLost, Unavailable
from coterie.ids import AgentId, AgentType
from coterie.pool.capacities import Capacities
from coterie.pool.lease import Ask, Lease, Waiter, check_returned, new_chance, refusal, refused, time_left
from coterie.ports import StateStore

__all__ = ["Lane"]

_log = logging.getLogger("coterie.pool")

# A process whose callers wait asks for all of them together, this often; no heartbeat waits for it.
RECONCILE_S = 1.0
# A process that registers agents and asks for slots at once says both in one command.
REGISTER_S = 0.05
# How long a cancelled caller, or the end of a pool, waits for the store.
GIVE_BACK_S = 5.0
# A pool that nobody has touched for so long may be dropped; its tokens go on growing nevertheless.
KEEP_S = 7 * 86_400.0
_CLOSED: Answer = {"k": "closed", "r": SECOND}


class Lane:
    """The pool of `agent_type` as this process takes part in it.

    All callers here stand in the queue of the store, each with a ticket: none overtakes another process. What must be
    renewed or asked again is said in one command, `beat`, which the pool calls when it is `due`.
    """

    def __init__(
        self,
        agent_type: AgentType,
        store: StateStore,
        policy: PoolPolicy,
        clock: Clock,
        *,
        owner: str,
        wake: Callable[[], None],
    ) -> None:
        self.agent_type = agent_type
        self.key = key(agent_type)
        self.policy = policy
        self.terms = policy.terms(agent_type)
        self.agents: dict[AgentId, tuple[int, int]] = {}
        self.held: dict[str, Lease] = {}
        self.status: PoolStatus | None = None
        self._store = store
        self._clock = clock
        self._owner = owner
        self._wake = wake
        # By ticket and holder; and the holders of this process's calls, by ticket.
        self._parked: dict[tuple[str, str], Waiter] = {}
        self._calls: dict[str, str] = {}
        self._unsaid: set[AgentId] = set()
        self._unclaimed: set[str] = set()
        self._back: list[Given] = []
        self._drop: list[list[str]] = []
        self._registered_s = self._said_s = -math.inf
        self._capacities = Capacities(policy.heartbeat_s)
        self._idle = asyncio.Event()
        self._closed = self._failing = self._listening = False
        self._subscribing = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def waiting(self) -> int:
        """How many callers of this process wait."""
        return len(self._parked)

    def register(self, agent_id: AgentId, capacity: int, weight: int) -> None:
        """Keep an agent alive from the next command on."""
        self.agents[agent_id] = (capacity, weight)
        self._unsaid.add(agent_id)
        self._registered_s = time.monotonic()
        self._wake()

    def due_s(self) -> float:
        """When to call `beat`, on the event loop's clock."""
        if self._unsaid and not self._failing:
            return max(self._said_s, self._registered_s + REGISTER_S)
        if self._parked or self._unclaimed or self._back or self._drop or self._failing:
            return self._said_s + min(RECONCILE_S, self.policy.heartbeat_s)
        return self._said_s + self.policy.heartbeat_s if self.agents or self.held else math.inf

    async def beat(self) -> None:
        """Say all that is to be said now.

        Raises:
            CoterieError: the store failed, or holds a state that cannot be read; logged once.
        """
        loop = asyncio.get_running_loop()
        if self.agents and self._capacities.is_due():
            with suppress(CoterieError):
                self._capacities.compare(self.agents, await self._seen())
        sent_s = self._said_s = loop.time()
        held = dict(self.held)
        # A call here has taken over what was deferred by the same ticket.
        waiters = [one for one in self._parked.values() if one.ask.holder or one.ask.ticket not in self._calls]
        back, drop, self._back, self._drop = self._back, self._drop, [], []
        try:
            answer = await self._say(
                agents=list(self.agents),
                back=back,
                drop=drop,
                renew=[[name, lease.token] for name, lease in held.items()],
                asks=[waiter.ask.said(waits=True) for waiter in waiters],
            )
        except BaseException:
            self._back, self._drop = back + self._back, drop + self._drop
            raise
        self._renewed(held, answer["lost"], sent_s)
        for waiter in waiters:
            self._told(waiter, {**answer["asks"][waiter.ask.ticket], "s": sent_s})

    async def acquire(self, ask: Ask, *, left_s: Callable[[], float]) -> Lease:
        """A slot; cancelled, it leaves nothing behind.

        left_s: for how many seconds more to wait, asked whenever they are over.

        Raises:
            Refused: there is none.
        """
        if ask.ticket in self._calls:
            raise refused(self.agent_type, {"k": "taken", "r": SECOND})
        self._calls[ask.ticket] = ask.holder
        try:
            answer = await self._ask(ask, left_s, queues=left_s() > 0)
            if self._closed or answer["k"] == "queued":
                answer = _CLOSED if self._closed else {"k": "late", "r": SECOND}
            if answer["k"] in ("late", "closed"):
                await self._tidy(self._forsake(ask))
        except BaseException:
            # Whether the store granted something meanwhile is not known.
            await self._tidy(self._forsake(ask))
            raise
        finally:
            del self._calls[ask.ticket]
            self._idle.set()
        if answer["k"] == "leased":
            return self._adopt(ask, answer)
        raise await refusal(self.agent_type, answer, self._seen)

    async def keep_place(self, ask: Ask, *, wait_s: float) -> bool:
        """Whether a slot is granted to a deferred ticket within `wait_s` seconds; its place stays, whatever happens.

        Raises:
            Refused: it cannot wait.
        """
        answer = await self._ask(ask, time_left(wait_s), queues=True)
        if answer["k"] in ("leased", "queued"):
            return bool(answer["k"] == "leased")
        raise await refusal(self.agent_type, answer, self._seen)

    async def settle(self, lease: Lease, outcome: str) -> None:
        """Give a lease back. A store that fails is told later.

        Raises:
            LeaseLost: it had ended before; StaleToken: and somebody was granted the agent since.
        """
        given = self._let_go(lease, outcome)
        if given is None:
            raise LeaseLost(f"{lease!r} was given back before; give a lease back once")
        try:
            answer = await self._say(back=[given])
        except Unavailable as error:
            self._back.append(given)
            self._wake()
            _log.warning("pool.release_delayed %r: %s", lease, error)
        except BaseException:
            await self._tidy(self._return(given))
            raise
        else:
            check_returned(lease.agent_id, lease.token, answer["back"][lease.id])
        if lease.lost.is_set():
            raise LeaseLost(f"{lease!r} ended while it was in use; let lease_s be longer, or see why renewing failed")

    async def give_back(self, lease: Lease, outcome: str) -> None:
        """Give a lease back while an error or a cancellation goes on: bounded, and never raising another."""
        if (given := self._let_go(lease, outcome)) is not None:
            await self._tidy(self._return(given))

    async def complete(self, agent_id: AgentId, token: int, outcome: str) -> None:
        """Give back a lease of another process, by its token.

        Raises:
            LeaseLost, StaleToken: as for `settle`.
        """
        given = await self._say(back=[("", agent_id, token, outcome, 0)])
        check_returned(agent_id, token, given["back"][""])

    async def withdraw(self, ticket: str) -> None:
        """Give up the place of a deferred ticket, or what it was granted."""
        await self._say(drop=[[ticket, ""]])

    async def look(self) -> PoolStatus:
        """The pool as the store has it."""
        self.status = await self._seen()
        return self.status

    async def _seen(self) -> PoolStatus:
        return look(*await self._store.read(self.key), self.terms)

    async def change(self, operation: Callable[[int], Any]) -> bool:
        """Apply a change to an agent, made with a chance; whether there is that agent."""
        if self._unsaid:
            await self._say()
        return bool(await self._store.update(self.key, operation(new_chance()), keep_s=KEEP_S))

    async def leave(self) -> None:
        """Give everything back, within a bound."""
        self._closed = True
        for waiter in self._parked.values():
            waiter.resolve(_CLOSED)
        leases = list(self.held.values())
        back = [given for lease in leases if (given := self._let_go(lease, "")) is not None]
        for lease in leases:
            lease.lost.set()
        if self._said_s > -math.inf:
            await self._tidy(self._say_goodbye(back))
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=GIVE_BACK_S)

    async def _say_goodbye(self, back: list[Given]) -> None:
        # Callers on their way may be granted something still: each gives up its own.
        while self._calls:
            self._idle.clear()
            await self._idle.wait()
        self._unsaid.clear()
        try:
            await self._say(back=self._back + back, drop=self._drop, agents=list(self.agents), leaving=True)
        except CoterieError:
            # Logged where it was raised; what was held ends by itself.
            return
        if self._listening:
            await self._store.unsubscribe(channel(self.agent_type, self._owner), self._heard)

    async def _ask(self, ask: Ask, left_s: Callable[[], float], *, queues: bool) -> Answer:
        """The store's answer: at once, or when it changes while there is time left."""
        answer = await self._say_ask(ask, waits=queues)
        if answer["k"] != "queued" or left_s() <= 0:
            return answer
        fresh = Waiter(ask, asyncio.get_running_loop().create_future())
        waiter = self._parked.setdefault((ask.ticket, ask.holder), fresh)
        waiter.callers += 1
        self._wake()
        try:
            if await self._listen():
                # A grant may have been told before anybody listened.
                self._told(waiter, await self._say_ask(ask, waits=True))
            while (wait_s := left_s()) > 0 and not waiter.future.done():
                await asyncio.wait({waiter.future}, timeout=wait_s)
        finally:
            waiter.callers -= 1
            if not waiter.callers:
                del self._parked[ask.ticket, ask.holder]
        return waiter.future.result() if waiter.future.done() else answer

    async def _say_ask(self, ask: Ask, *, waits: bool) -> Answer:
        sent_s, asks = asyncio.get_running_loop().time(), [ask.said(waits=waits)]
        answer = await self._say(asks=asks)
        if answer["asks"][ask.ticket]["k"] == "nobody" and self.agents:
            # A store that has lost its state hears of them now, and not with the next heartbeat.
            answer = await self._say(agents=list(self.agents), asks=asks)
        return {**answer["asks"][ask.ticket], "s": sent_s}

    async def _say(
        self,
        *,
        agents: Sequence[AgentId] = (),
        leaving: bool = False,
        back: Sequence[Given] = (),
        drop: Sequence[Sequence[str]] = (),
        renew: Sequence[Sequence[str | int]] = (),
        asks: Sequence[Asked] = (),
    ) -> Answer:
        new = set(self._unsaid)
        operation = turn(
            self.terms,
            self._owner,
            chance=new_chance(),
            agents=[[name, *self.agents[name]] for name in dict.fromkeys([*new, *agents]) if name in self.agents],
            leaving=leaving,
            back=back,
            drop=drop,
            renew=renew,
            asks=asks,
        )
        if self._said_s == -math.inf:
            self._said_s = asyncio.get_running_loop().time()
        try:
            answer = await self._store.update(self.key, operation, keep_s=KEEP_S)
        except CoterieError as error:
            if not self._failing:
                _log.warning("pool.unavailable %r: %s", self.agent_type, error)
            self._failing = True
            raise
        self._failing = False
        self._unsaid -= new
        return answer

    async def _listen(self) -> bool:
        """Hear of grants; whether that is new."""
        async with self._subscribing:
            if self._listening:
                return False
            await self._store.subscribe(channel(self.agent_type, self._owner), self._heard)
            self._listening = True
            return True

    def _heard(self, message: str | None) -> None:
        if message is None:
            # Something was missed: the next beat asks for all that wait, and waiters have it once a second.
            self._wake()
            return
        ticket, agent_id, token = message.split(" ")
        waiter = self._parked.get((ticket, self._calls.get(ticket, "")))
        if waiter is not None:
            heard_s = asyncio.get_running_loop().time()
            waiter.resolve({"k": "leased", "a": agent_id, "n": int(token), "u": self.terms["claim"], "s": heard_s})

    def _told(self, waiter: Waiter, answer: Answer) -> None:
        """What the store said of a ticket, perhaps after its caller has gone."""
        if self._parked.get((waiter.ask.ticket, waiter.ask.holder)) is waiter:
            if answer["k"] != "queued":
                waiter.resolve(answer)
        elif waiter.ask.holder and waiter.ask.ticket not in self.held and answer["k"] in ("leased", "queued"):
            self._spawn(self._forsake(waiter.ask))

    def _adopt(self, ask: Ask, answer: Answer) -> Lease:
        lease = Lease(ask.ticket, self.agent_type, answer["a"], answer["n"], began_s=self._clock.monotonic())
        left_s = answer["u"] / SECOND - (asyncio.get_running_loop().time() - answer["s"])
        lease.extend(left_s, self._clock.now() + left_s)
        self.held[lease.id] = lease
        if answer["u"] < self.terms["lease"]:
            self._unclaimed.add(lease.id)
        self._wake()
        return lease

    def _let_go(self, lease: Lease, outcome: str) -> Given | None:
        if self.held.get(lease.id) is not lease:
            return None
        del self.held[lease.id]
        self._unclaimed.discard(lease.id)
        lease.end()
        latency_us = round((self._clock.monotonic() - lease.began_s) * SECOND)
        return lease.id, lease.agent_id, lease.token, outcome, latency_us

    def _renewed(self, held: dict[str, Lease], lost: Collection[str], sent_s: float) -> None:
        left_s = self.policy.lease_s - (asyncio.get_running_loop().time() - sent_s)
        for name, lease in held.items():
            if self.held.get(name) is not lease:
                continue
            self._unclaimed.discard(name)
            if name in lost:
                lease.end()
                lease.lost.set()
            elif not lease.lost.is_set():
                lease.extend(left_s, self._clock.now() + left_s)

    async def _forsake(self, ask: Ask) -> None:
        word = [ask.ticket, ask.holder]
        try:
            await self._say(drop=[word])
        except CoterieError:
            # Logged where it was raised; said again with the next beat.
            self._drop.append(word)
            self._wake()

    async def _return(self, given: Given) -> None:
        try:
            await self._say(back=[given])
        except CoterieError:
            self._back.append(given)
            self._wake()

    async def _tidy(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for `work`, but not long; it goes on when this is cancelled."""
        await asyncio.wait({self._spawn(work)}, timeout=GIVE_BACK_S)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
