"""Strict or relaxed: looks at every server before it is told anything, and says when what it took is durable."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from coterie.errors import PolicyError, Unavailable
from coterie.ports import Durability
from coterie.stores.redis.address import Address
from coterie.stores.redis.gate import Gate, sync
from coterie.stores.redis.policy import RedisJournalPolicy
from coterie.stores.redis.standing import Course, Facts, ask_facts, could_lose_runs, judge, not_strict
from coterie.stores.redis.wire import Lost, Wire

__all__ = ["Durable", "check_durability"]

_log = logging.getLogger("coterie.store")


def check_durability(durability: Durability) -> None:
    """Return if a server can be so durable.

    Raises:
        PolicyError: it is neither "strict" nor "relaxed".
    """
    if durability not in ("strict", "relaxed"):
        raise PolicyError(f"durability={durability!r} is neither 'strict' nor 'relaxed'")


@dataclass(frozen=True, slots=True)
class _Standing:
    """Of a connection: the process that it leads to. gate: None where an answer is all one needs."""

    run_id: str
    gate: Gate | None


class Durable:
    """An `Inspector` of connections, and who waits for what they lead to."""

    def __init__(self, address: Address, policy: RedisJournalPolicy, durability: Durability) -> None:
        self._address = address
        self._policy = policy
        self._is_strict = durability == "strict"
        self._standings: WeakKeyDictionary[Wire, _Standing] = WeakKeyDictionary()
        self._looking: WeakKeyDictionary[Wire, asyncio.Task[None]] = WeakKeyDictionary()
        # By process, and how it was to be trusted when that was found out.
        self._gates: dict[tuple[str, Course], Gate] = {}
        self._warned = False

    def knows(self, wire: Wire) -> bool:
        """See `route.Inspector`."""
        return wire in self._standings

    async def inspect(self, wire: Wire, key: bytes) -> None:
        """See `route.Inspector`. All who are about to use a connection share one look.

        Raises:
            PolicyError: a strict journal cannot trust the server.
            OSError, Refusal: it does not answer.
        """
        look = self._looking.get(wire)
        if look is None:
            look = self._looking[wire] = asyncio.create_task(self._look(wire, key), name="coterie-redis-inspect")
            look.add_done_callback(_heard)
        # A caller who is cancelled leaves it to the others.
        await asyncio.wait([look])
        if look.cancelled():
            raise Lost("the store was closed", sent=False)
        try:
            look.result()
        except Lost as lost:
            # What was to be sent on this connection was not.
            raise Lost(str(lost), sent=False) from lost
        except PolicyError as error:
            raise PolicyError(str(error)) from None

    def are_one(self, one: Wire, other: Wire) -> bool:
        """Whether both lead to the same process, whose file keeps the order of what it took."""
        first, second = self._standings.get(one), self._standings.get(other)
        return first is not None and second is not None and first.run_id == second.run_id

    async def settle(self, wire: Wire, key: bytes, run: str, version: int | None = None) -> None:
        """Return once all that was answered on this connection until now is as durable as it is to be.

        version: of the run that was written or read, where it is known: what was on disk before is not waited for.

        Raises:
            Unavailable: whether it is durable is not known.
        """
        if not self._is_strict:
            return
        standing = self._standings.get(wire)
        if standing is None:
            # It was a replica when we looked, and may have become the primary since: the next connection is looked at.
            wire.drop("the server was a replica a moment ago")
            raise Unavailable(
                f"{self._address.where} has answered, but whether that is durable is not known: the server was a "
                "replica a moment ago; try again later"
            )
        if standing.gate is not None:
            await standing.gate.passed(_sync_key(key), run, version)

    async def aclose(self) -> None:
        """End what was begun."""
        looks = [look for look in self._looking.values() if not look.done()]
        for look in looks:
            look.cancel()
        if looks:
            await asyncio.wait(looks)
        await asyncio.gather(*(gate.aclose() for gate in self._gates.values()))

    async def _look(self, wire: Wire, key: bytes) -> None:
        try:
            facts = await ask_facts(wire)
            if not self._is_strict:
                self._warn(facts)
                self._standings[wire] = _Standing(facts.run_id, None)
            # A replica takes nothing from us, whatever its settings are. It is looked at again.
            elif facts.is_primary:
                self._standings[wire] = _Standing(facts.run_id, await self._gate(wire, _sync_key(key), facts))
        finally:
            del self._looking[wire]

    async def _gate(self, wire: Wire, key: bytes, facts: Facts) -> Gate | None:
        course = judge(facts, replicas=self._policy.replicas, where=self._address.where)
        if course == "answers":
            if facts.waits:
                await self._check_kept(wire, key)
            return None
        gate = self._gates.get((facts.run_id, course))
        return gate or await self._opened(wire, key, facts, course)

    async def _check_kept(self, wire: Wire, key: bytes) -> None:
        """A file that was asked for a moment ago is not kept before it was written as a whole."""
        try:
            await sync(wire, key, replicas=0, timeout_s=self._policy.op_timeout_s / 2)
        except TimeoutError as error:
            raise TimeoutError(f"its append-only file is not kept yet: {error}") from error

    async def _opened(self, wire: Wire, key: bytes, facts: Facts, course: Course) -> Gate:
        every_second = course == "waits a second"
        gate = Gate(
            self._address, wire.host, self._policy,
            run_id=facts.run_id, every_second=every_second, where=self._address.where,
        )  # fmt: skip
        trusted = False
        try:
            trusted = await gate.is_to_be_trusted(key)
        finally:
            if not trusted:
                await gate.aclose()
        if not trusted:
            raise not_strict(_untrue(facts), self._address.where)
        # Of a process that was there before, nobody can learn anything any more.
        gone = [known for known in self._gates if known[0] != facts.run_id and self._gates[known].host == wire.host]
        await asyncio.gather(*(self._gates.pop(known).aclose() for known in gone))
        self._gates[facts.run_id, course] = gate
        return gate

    def _warn(self, facts: Facts) -> None:
        problem = could_lose_runs(facts)
        if problem is not None and not self._warned:
            self._warned = True
            _log.warning("store.evicts_runs %s: %s", self._address.where, problem)


def _sync_key(key: bytes) -> bytes:
    return key + b":sync"


def _untrue(facts: Facts) -> str:
    if facts.fsync is None:
        return (
            "it hides its 'appendfsync', and answers WAITAOF faster than one that syncs every second can (let the user "
            "do CONFIG GET)"
        )
    return f"under 'appendfsync {facts.fsync}' it answers WAITAOF before it has synced, a known defect of some versions"


def _heard(look: asyncio.Task[None]) -> None:
    """Where all who waited were cancelled, nobody is left to be told why it failed."""
    if not look.cancelled():
        look.exception()
