"""The state store of a fleet: Redis 6.2 or newer, or Valkey; one server, under sentinels, or a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

from coterie._rules.decided import Decide, Operation, State
from coterie.ids import check_name
from coterie.ports import Notice
from coterie.stores.redis.address import Address, parse_address
from coterie.stores.redis.calls import Calls
from coterie.stores.redis.ear import Ear
from coterie.stores.redis.flight import Flight
from coterie.stores.redis.fold import Ask
from coterie.stores.redis.home import Home
from coterie.stores.redis.policy import RedisPolicy
from coterie.stores.redis.route import Route
from coterie.stores.redis.routes import check_driver, open_route
from coterie.stores.redis.scripts import Script, twin
from coterie.stores.scopes import FleetStore
from coterie.stores.states import check_channel, check_keep, check_key, check_kind, check_message, from_text

__all__ = ["RedisStateStore", "open_redis"]

T = TypeVar("T")


def open_redis(
    url: str,
    namespace: str = "default",
    *,
    policy: RedisPolicy | None = None,
    twins: Callable[[str], Script | None] = twin,
    clock: Callable[[], int] | None = None,
    named_by: str | None = None,
) -> RedisStateStore:
    """A store at `url`, whose forms are told by `coterie.stores.redis.address.parse_address`. Connects when first used.

    twins, clock: for tests: the script of an operation's name, and a time in microseconds instead of the server's.
    named_by: the setting that holds the URL, for messages.

    Raises:
        Misuse: the URL or the namespace cannot be, or the driver is not installed.
    """
    check_driver()
    check_name(namespace, "the namespace")
    address = parse_address(url, named_by=named_by)
    return RedisStateStore(address, namespace, policy=policy or RedisPolicy(), twins=twins, clock=clock)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What belongs to one event loop of one process."""

    route: Route
    calls: Calls
    ear: Ear
    flights: dict[str, Flight]


class RedisStateStore(FleetStore):
    """A `StateStore` on Redis; see `open_redis`.

    A key is `{namespace:kind/name}`, wholly a hash tag; a channel is `namespace:kind/name`, or `namespace@db:kind/name`
    in another database than 0, since databases share their channels.

    An operation that has a twin in Lua takes one trip. Other decisions on one key are folded together in this process
    and stored by compare-and-set. All commands of one tick of the event loop leave in one write.

    One event loop at a time may use it; a forked process makes connections of its own.
    """

    def __init__(
        self,
        address: Address,
        namespace: str,
        *,
        policy: RedisPolicy,
        twins: Callable[[str], Script | None],
        clock: Callable[[], int] | None,
    ) -> None:
        super().__init__(address, namespace)
        self._policy = policy
        self._twins = twins
        self._clock = clock
        self._prefix = address.prefix(namespace)
        self._home = Home(self._parts, "state")

    def __repr__(self) -> str:
        return f"RedisStateStore({self.url!r}, {self._namespace!r})"

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        """Apply a decision; see `StateStore.update`.

        Raises:
            Unavailable: also where a connection ended after a change was sent, which is not sent again then.
            StateFormatError: what lies at the key is no state.
        """
        here = self._home.here()
        check_keep(keep_s)
        if isinstance(decide, Operation) and (script := self._twins(decide.name)) is not None:
            answer = await here.calls.run_twin(script, key, decide, keep_s)
            if answer is not None:
                return cast("T", decide.read(answer[0]))
        flight = here.flights.get(check_key(key))
        if flight is None:
            over = partial(here.flights.pop, key)
            flight = Flight(key, here.calls, timeout_s=self._policy.update_timeout_s, over=over)
            here.flights[key] = flight
        return cast("T", await flight.join(Ask(decide, keep_s)))

    async def read(self, key: str) -> tuple[State | None, int]:
        """The state, and the server's clock in microseconds."""
        seen = await self._home.here().calls.read(check_key(key))
        return (None if seen.raw is None else from_text(seen.raw, key)), seen.now

    async def keys(self, kind: str) -> Sequence[str]:
        """All keys of a kind, sorted, from every primary."""
        return await self._home.here().calls.names(check_kind(kind))

    async def publish(self, channel: str, message: str) -> None:
        """Tell all who listen now."""
        await self._home.here().calls.publish(check_channel(channel), check_message(message))

    async def subscribe(self, channel: str, notice: Notice) -> None:
        """Have `notice` called for each message from now on; with None once a lost connection is there again."""
        await self._home.here().ear.subscribe(check_channel(channel), notice)

    async def unsubscribe(self, channel: str, notice: Notice) -> None:
        """Stop calling `notice`."""
        if not self._home.is_closed:
            self._home.here().ear.unsubscribe(channel, notice)

    async def aclose(self) -> None:
        """End all connections, within `close_timeout_s`; who waits for an answer gets `Unavailable`."""
        left = self._home.leave()
        if left is None:
            return
        for flight in tuple(left.flights.values()):
            await flight.aclose("the state store was closed; whether the change was made is not known")
        await asyncio.gather(left.ear.aclose(), left.route.aclose())

    def _parts(self) -> _Parts:
        route = open_route(self._address, self._policy)
        calls = Calls(
            route, namespace=self._namespace, prefix=self._prefix, where=self._address.where, clock=self._clock
        )
        ear = Ear(route, self._policy, prefix=self._prefix, where=self._address.where)
        return _Parts(route, calls, ear, {})
