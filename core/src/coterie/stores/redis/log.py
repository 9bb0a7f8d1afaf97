"""The log of a fleet: topics in Redis 6.2 or newer, or in Valkey; one server, under sentinels, or a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from coterie._rules.log import (
    Appended,
    DeadPage,
    Delivery,
    GroupStatus,
    Message,
    Position,
    Reading,
    Retention,
    Taken,
    Terms,
    TopicStatus,
)
from coterie.errors import Unavailable
from coterie.ids import check_name
from coterie.ports import Durability, Notice
from coterie.stores.logs import (
    DIED,
    MAX_MESSAGES,
    check_delay,
    check_instant,
    check_lease,
    check_limit,
    check_max_deliveries,
    check_messages,
    check_positions,
    check_reason,
    check_topic,
    check_types,
    full,
)
from coterie.stores.redis.address import Address, parse_address
from coterie.stores.redis.durable import Durable, check_durability
from coterie.stores.redis.ear import Ear
from coterie.stores.redis.home import Home
from coterie.stores.redis.log_calls import LogCalls
from coterie.stores.redis.log_holders import Holder
from coterie.stores.redis.log_replies import (
    appended,
    dead_page,
    group_status,
    letter,
    reading,
    taken,
    topic_status,
)
from coterie.stores.redis.log_replies import (
    positions as _positions,
)
from coterie.stores.redis.log_terms import Argument, arguments_of, chosen, kept_by, parsed, taken_by
from coterie.stores.redis.policy import RedisJournalPolicy
from coterie.stores.redis.route import Route
from coterie.stores.redis.routes import check_driver, open_route
from coterie.stores.redis.wire import Reply
from coterie.stores.scopes import FleetStore

__all__ = ["RedisLogStore", "open_redis_log"]


def open_redis_log(
    url: str,
    namespace: str = "default",
    *,
    durability: Literal["strict", "relaxed"] = "relaxed",
    policy: RedisJournalPolicy | None = None,
    clock: Callable[[], int] | None = None,
    named_by: str | None = None,
) -> RedisLogStore:
    """A log at `url`, whose forms `coterie.stores.redis.address.parse_address` tells. Connects when first used.

    durability: relaxed: what was acknowledged is as durable as the server's own settings make it. strict: a call that
        writes returns once that is on disk, as a journal's does; a server that does not sync is refused.
    policy: deadlines, and where it is strict, how many replicas must have it.
    clock: for tests: a time in microseconds instead of the server's.
    named_by: the setting that holds the URL, for messages.

    Raises:
        Misuse: the URL or the namespace cannot be, or the driver is not installed.
        PolicyError: the durability is neither of the two.
    """
    check_driver()
    check_name(namespace, "the namespace")
    check_durability(durability)
    address = parse_address(url, named_by=named_by)
    return RedisLogStore(address, namespace, durability=durability, policy=policy or RedisJournalPolicy(), clock=clock)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What belongs to one event loop of one process."""

    route: Route
    durable: Durable
    calls: LogCalls
    ear: Ear
    holders: dict[tuple[str, str, str], Holder]

    def holder(self, topic: str, group: str, consumer: str) -> Holder:
        """What is known of a consumer."""
        found = self.holders.get((topic, group, consumer))
        if found is None:
            found = self.holders[topic, group, consumer] = Holder()
        return found


class RedisLogStore(FleetStore):
    """A `LogStore` on Redis; see `open_redis_log`.

    A topic is the stream `{namespace:log/<topic>}`, a group is one of its consumer groups: XINFO and XPENDING tell the
    truth about both. What streams do not have lies beside it, in the same slot: see `lua/_log_topic.lua` and
    `lua/_log_group.lua`. A position is the id in the stream: `<microseconds>-<number>`.

    Each call is one script, and one trip. On a connection that is quiet a command leaves at once; all others of one
    tick of the event loop leave in one write. A group that
    goes by priority reads at most 5000 messages on in one call, and keeps at most 10,000 ready.

    One event loop at a time may use it; a forked process makes connections of its own.
    """

    def __init__(
        self,
        address: Address,
        namespace: str,
        *,
        durability: Durability,
        policy: RedisJournalPolicy,
        clock: Callable[[], int] | None,
    ) -> None:
        super().__init__(address, namespace)
        self._durability = durability
        self._policy = policy
        self._clock = clock
        self._prefix = address.prefix(namespace)
        self._home = Home(self._parts, "log")

    def __repr__(self) -> str:
        return f"RedisLogStore({self.url!r}, {self._namespace!r}, durability={self._durability!r})"

    @property
    def durability(self) -> Durability:
        """As it was given: strict, or relaxed."""
        return self._durability

    # Topics

    async def append(self, topic: str, messages: Sequence[Message], *, retention: Retention) -> Sequence[Appended]:
        """Add messages, in one script; see `LogStore.append`."""
        calls, checked = self._calls(topic), check_messages(messages)
        if not checked:
            return []
        reply = await calls.append(topic, (*kept_by(retention), *arguments_of(checked)))
        if reply == [b"full"]:
            raise full(topic, retention.max_messages or 0)
        return appended(reply)

    async def read(self, topic: str, *, after: Position = "", limit: int = 100, types: Sequence[str] = ()) -> Reading:
        """Messages from behind a position on: at most 10,000, or about 4 MiB, are looked at in one call."""
        calls = self._calls(topic)
        patterns = chosen(check_types(types))
        reply = await calls.of_topic("read", topic, parsed(after), check_limit(limit), *patterns, what="read")
        return reading(reply)

    async def locate(self, topic: str, at: int | None) -> Position:
        """The position behind which all lies from an instant on."""
        instant = check_instant(at)
        reply = await self._calls(topic).of_topic("locate", topic, "" if instant is None else instant, what="read")
        return str(reply.decode())

    async def topics(self) -> Sequence[TopicStatus]:
        """All topics, by name; every key of the servers is looked at."""
        calls = self._home.here().calls
        names = await calls.topics()
        replies = await asyncio.gather(*(calls.of_topic("status", name, what="read") for name in names))
        return [topic_status(name, reply) for name, reply in zip(names, replies, strict=True) if reply[0]]

    async def drop_topic(self, topic: str) -> bool:
        """Remove a topic with all its groups."""
        calls = self._calls(topic)
        while True:
            status = await calls.of_topic("status", topic, what="read")
            reply = await calls.drop(topic, status[5])
            if reply != b"some":
                return bool(reply)

    # Groups

    async def take(
        self,
        topic: str,
        group: str,
        consumer: str,
        *,
        terms: Terms,
        limit: int,
        done: Sequence[Position] = (),
    ) -> Taken:
        """Acknowledge, be heard of, and take, in one script; see `LogStore.take`.

        What a consumer was given by a call whose answer was lost goes to others with its next one.
        """
        here = self._home.here()
        check_types(terms.types)
        before, after = taken_by(terms)
        who = here.calls.known_consumer(consumer)
        holder = here.holder(topic, group, who)
        turn = holder.turn_for(done) if isinstance(done, Sequence) and len(done) <= MAX_MESSAGES else ""
        known = holder.known
        arguments = (
            who, *before, check_limit(limit, least=0), *after,
            turn, *((-1,) if known is None else (len(known), *known)), *(dict.fromkeys(done) if turn else _given(done)),
        )  # fmt: skip
        try:
            reply = await _take(here.calls, topic, group, arguments)
        except BaseException:
            # Also where it is cancelled: the server may have carried it out.
            holder.lose()
            raise
        got = taken(reply)
        if got.stale:
            got = replace(got, stale=tuple(_ordered(got.stale, done)))
        given = [delivery.logged.position for delivery in got.deliveries]
        holder.settle(done, given, reply[6].decode(), is_sure=reply[7] == b"1")
        return got

    async def acknowledge(
        self, topic: str, group: str, consumer: str, positions: Sequence[Position]
    ) -> Sequence[Position]:
        """Be done with messages; those that this consumer did not hold."""
        here, done = self._home.here(), _given(positions)
        arguments = (here.calls.known_consumer(consumer), *done)
        stale = _positions(await here.calls.of_group("acknowledge", topic, group, *arguments, what="acknowledge to"))
        here.holder(topic, group, consumer).drop(done)
        return _ordered(stale, done)

    async def give_back(
        self,
        topic: str,
        group: str,
        consumer: str,
        position: Position,
        *,
        delay_s: float = 0.0,
        reason: str | None = None,
        max_deliveries: int | None = None,
    ) -> Delivery | None:
        """Have a message delivered again, or made a dead letter; see `LogStore.give_back`."""
        here, (where,) = self._home.here(), _given([position])
        why, most = check_reason(reason), check_max_deliveries(max_deliveries)
        who, delay = here.calls.known_consumer(consumer), check_delay(delay_s)
        arguments = (who, where, delay, *_reason(why), "" if most is None else most)
        reply = await here.calls.of_group("give_back", topic, group, *arguments, what="give back to")
        here.holder(topic, group, who).drop([where])
        return letter(reply) if reply else None

    async def beat(self, topic: str, group: str, consumer: str, *, lease_s: float) -> bool:
        """Be heard of."""
        calls = self._home.here().calls
        arguments = (calls.known_consumer(consumer), check_lease(lease_s))
        return bool(await calls.of_group("beat", topic, group, *arguments, what="be heard of by", again=True))

    async def leave(self, topic: str, group: str, consumer: str, *, died: bool = False) -> int:
        """End a consumer; how many messages it held."""
        here = self._home.here()
        who = here.calls.known_consumer(consumer)
        here.holders.pop((topic, group, who), None)
        arguments = (who, *_reason(DIED if died else None))
        return int(await here.calls.of_group("leave", topic, group, *arguments, what="leave"))

    async def groups(self, topic: str) -> Sequence[GroupStatus]:
        """The groups of a topic, by name."""
        calls = self._calls(topic)
        status = await calls.of_topic("status", topic, what="read")
        names = sorted(name.decode() for name in status[5])
        replies = await asyncio.gather(
            *(calls.of_group("group_status", topic, name, what="read", again=True, writes=False) for name in names)
        )
        return [group_status(name, reply) for name, reply in zip(names, replies, strict=True) if reply]

    async def drop_group(self, topic: str, group: str) -> bool:
        """End a group with its dead letters."""
        return bool(await self._home.here().calls.of_group("drop_group", topic, group, what="end a group of"))

    # Dead letters

    async def dead_letters(self, topic: str, group: str, *, limit: int = 100, after: str | None = None) -> DeadPage:
        """Dead letters, in the order of the log. The cursor is the position of the last one."""
        arguments = (parsed("" if after is None else after), check_limit(limit))
        calls = self._home.here().calls
        return dead_page(await calls.of_group("dead", topic, group, *arguments, what="read", again=True, writes=False))

    async def requeue(self, topic: str, group: str, positions: Sequence[Position]) -> Sequence[Position]:
        """Have dead letters delivered again; those that were there."""
        calls = self._home.here().calls
        return _positions(await calls.of_group("requeue", topic, group, *_given(positions), what="requeue to"))

    async def discard(self, topic: str, group: str, positions: Sequence[Position]) -> Sequence[Position]:
        """Remove dead letters; those that were there."""
        calls = self._home.here().calls
        return _positions(await calls.of_group("discard", topic, group, *_given(positions), what="remove from"))

    # Watching

    async def watch(self, topic: str, notice: Notice) -> None:
        """Have `notice` called with the topic's name, and with None once a lost connection is there again."""
        await self._home.here().ear.subscribe(f"log/{check_topic(topic)}", notice)

    async def unwatch(self, topic: str, notice: Notice) -> None:
        """Stop calling `notice`."""
        if not self._home.is_closed:
            self._home.here().ear.unsubscribe(f"log/{topic}", notice)

    async def aclose(self) -> None:
        """End all connections, within `close_timeout_s`; who waits for an answer gets `Unavailable`."""
        left = self._home.leave()
        if left is not None:
            await asyncio.gather(left.ear.aclose(), left.durable.aclose(), left.route.aclose())

    def _calls(self, topic: str) -> LogCalls:
        calls = self._home.here().calls
        calls.topic(topic)
        return calls

    def _parts(self) -> _Parts:
        durable = Durable(self._address, self._policy, self._durability)
        route = open_route(self._address, self._policy, inspector=durable)
        calls = LogCalls(
            route, durable, namespace=self._namespace, prefix=self._prefix, where=self._address.where, clock=self._clock
        )  # fmt: skip
        ear = Ear(route, self._policy, prefix=self._prefix, where=self._address.where)
        return _Parts(route, durable, calls, ear, {})


async def _take(calls: LogCalls, topic: str, group: str, arguments: Sequence[Argument]) -> Reply:
    try:
        return await calls.of_group("take", topic, group, *arguments, what="take from")
    except Unavailable as error:
        if "NOGROUP" not in str(error.__cause__):
            raise
    # Somebody has destroyed the consumer group by hand: it begins anew.
    await calls.of_group("drop_group", topic, group, what="end a group of")
    return await calls.of_group("take", topic, group, *arguments, what="take from")


def _given(found: Sequence[Position]) -> list[Position]:
    return check_positions(found, parsed)


def _ordered(found: Sequence[Position], given: Sequence[Position]) -> list[Position]:
    """What was found, in the order in which it was given."""
    there = set(found)
    return [position for position in dict.fromkeys(given) if position in there]


def _reason(reason: str | None) -> tuple[str, str]:
    return ("", "") if reason is None else ("1", reason)
