"""Which node of a cluster a command goes to: by the key's slot, as the nodes themselves say."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from coterie.stores.redis.address import Address, Host
from coterie.stores.redis.dial import ask, dial_server
from coterie.stores.redis.lines import Line
from coterie.stores.redis.policy import RedisPolicy
from coterie.stores.redis.route import Inspector, On, pause, scan
from coterie.stores.redis.wire import Command, Lost, Push, Refusal, Reply, Wire

__all__ = ["ClusterRoute", "slot_of"]

T = TypeVar("T")

_SLOTS = 16_384
# Nothing was done, and soon it may be: a slot on its way, a primary being replaced.
_SOON = frozenset({"TRYAGAIN", "CLUSTERDOWN", "READONLY", "MASTERDOWN"})
_ELSEWHERE = frozenset({"MOVED", "ASK"})


def slot_of(key: bytes) -> int:
    """The slot of a key: CRC16 (XMODEM) of what stands between its first braces, if anything does."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1) if start >= 0 else -1
    tag = key[start + 1 : end] if end > start + 1 else key
    return binascii.crc_hqx(tag, 0) % _SLOTS


class ClusterRoute:
    """Primaries by slot, learnt from any node, and again whenever a node sends us elsewhere or is lost."""

    def __init__(self, address: Address, policy: RedisPolicy, *, inspector: Inspector | None = None) -> None:
        self._address = address
        self._inspector = inspector
        self._policy = policy
        self._lines: dict[Host, Line] = {}
        self._owners: dict[int, Host] = {}
        self._learning: asyncio.Task[None] | None = None
        self._stale = True
        self._closed = False

    async def run(self, key: bytes, command: Command, *, again: bool = False, on: On | None = None) -> Reply:
        """See `Route.run`."""
        slot = slot_of(key)
        deadline = asyncio.get_running_loop().time() + self._policy.op_timeout_s
        asking: Host | None = None
        tries = 0
        while True:
            host = asking or await self._owner(slot)
            try:
                reply = await self._sent(host, command, asking=asking is not None, key=key, on=on)
            except (Lost, OSError) as error:
                self._stale = True
                carried_out = isinstance(error, Lost) and error.sent
                if (carried_out and not again) or asyncio.get_running_loop().time() >= deadline:
                    raise
                await self._learn()
                asking = None
                if not isinstance(error, Lost) and await self._owner(slot) == host:
                    # Nobody has taken over yet, and it cannot be reached: that is for the caller to know.
                    raise
                continue
            if not isinstance(reply, Refusal):
                return reply
            if reply.code not in _ELSEWHERE | _SOON or asyncio.get_running_loop().time() >= deadline:
                raise reply
            asking = self._directed(slot, reply)
            if reply.code in _SOON:
                self._stale = True
                await pause(tries)
            tries += 1

    async def scan(self, pattern: bytes) -> set[bytes]:
        """See `Route.scan`."""
        await self._learn()
        found: set[bytes] = set()
        for host in sorted(set(self._owners.values())):

            async def on_this(command: Command, host: Host = host) -> Reply:
                reply = await self._sent(host, command, asking=False)
                if isinstance(reply, Refusal):
                    raise reply
                return reply

            found |= await scan(on_this, pattern)
        return found

    async def listen(self, on_push: Push) -> Wire:
        """See `Route.listen`: any node hears of every message."""
        return await self._first(lambda host: self._dial(host, on_push))

    async def aclose(self) -> None:
        """See `Route.aclose`."""
        self._closed = True
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait([self._learning])
        await asyncio.gather(*(line.aclose() for line in self._lines.values()))

    async def _sent(
        self, host: Host, command: Command, *, asking: bool, key: bytes | None = None, on: On | None = None
    ) -> Reply:
        line = self._line(host)
        wire = line.open_wire() or await line.wire()
        if on is not None:
            on(wire)
        if self._inspector is not None and key is not None and not self._inspector.knows(wire):
            await self._inspector.inspect(wire, key)
        if asking:
            # Holds for the next command alone; both leave in one write.
            wire.tell(("ASKING",))
        return await wire.send(command)

    def _directed(self, slot: int, reply: Refusal) -> Host | None:
        """Follow MOVED for good; answers whom ASK names for this once."""
        if reply.code not in _ELSEWHERE:
            return None
        name, _, port = str(reply).split(" ")[2].rpartition(":")
        # Without a name it is the node that answered; its port is another's then.
        host = Host(name or self._owners[slot].name, int(port))
        if reply.code == "ASK":
            return host
        self._owners[slot] = host
        self._stale = True
        return None

    async def _owner(self, slot: int) -> Host:
        if slot not in self._owners:
            await self._learn()
        elif self._stale and self._learning is None:
            # The rest of the map may have changed as well; this command knows enough.
            self._begin_learning()
        if slot not in self._owners:
            raise ConnectionError(f"no node of {self._address.url} serves the slot {slot} at the moment")
        return self._owners[slot]

    async def _learn(self) -> None:
        learning = self._learning or self._begin_learning()
        # A caller who is cancelled leaves it to the others.
        await asyncio.wait([learning])
        if learning.cancelled():
            raise Lost("the store was closed", sent=False)
        learning.result()

    def _begin_learning(self) -> asyncio.Task[None]:
        self._learning = asyncio.create_task(self._read_map(), name="coterie-redis-cluster-map")
        self._learning.add_done_callback(self._learnt)
        return self._learning

    def _learnt(self, task: asyncio.Task[None]) -> None:
        self._learning = None
        # Retrieved, as nobody may be waiting: what fails again fails the next command.
        self._stale = task.cancelled() or task.exception() is not None

    async def _read_map(self) -> None:
        asked: list[Host] = []

        async def slots(host: Host) -> Reply:
            line = self._line(host)
            reply = await ask(line.open_wire() or await line.wire(), "CLUSTER", "SLOTS")
            asked.append(host)
            return reply

        rows = await self._first(slots)
        owners: dict[int, Host] = {}
        for first, last, primary, *_ in rows:
            # Without a name, it is the node that was asked.
            name = (primary[0] or b"").decode() or asked[0].name
            owners.update(dict.fromkeys(range(int(first), int(last) + 1), Host(name, int(primary[1]))))
        self._owners = owners
        serving = set(owners.values())
        self._lines = {host: line for host, line in self._lines.items() if host in serving or line.is_used}

    async def _first(self, use: Callable[[Host], Awaitable[T]]) -> T:
        """What the first node that can be reached gives: of those that serve, then of those that were named."""
        reasons: list[str] = []
        last: Exception | None = None
        hosts = self._candidates()
        for host in hosts:
            try:
                async with asyncio.timeout(self._policy.connect_timeout_s / min(len(hosts), 3)):
                    return await use(host)
            except OSError as error:
                reasons.append(f"{host}: {str(error) or 'no answer'}")
                last = error
        raise ConnectionError(f"no node of the cluster answers ({'; '.join(reasons)})") from last

    def _candidates(self) -> list[Host]:
        connected = [host for host, line in self._lines.items() if line.open_wire() is not None]
        everyone: Iterable[Host] = (*connected, *self._owners.values(), *self._address.hosts)
        return list(dict.fromkeys(everyone))

    def _line(self, host: Host) -> Line:
        if self._closed:
            raise Lost("the store was closed", sent=False)
        if host not in self._lines:
            self._lines[host] = Line(lambda: self._dial(host, None), self._policy)
        return self._lines[host]

    async def _dial(self, host: Host, on_push: Push | None) -> Wire:
        return await dial_server(self._address, host, self._policy, on_push=on_push)
