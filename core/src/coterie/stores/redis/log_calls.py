"""What a log asks of its servers, as commands: the keys of a topic and of a group, and the scripts over them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache

from coterie.errors import StateFormatError, Unavailable
from coterie.stores.logs import check_consumer, check_group, check_topic
from coterie.stores.redis.durable import Durable
from coterie.stores.redis.evaluate import evaluate
from coterie.stores.redis.failures import translated
from coterie.stores.redis.log_terms import Argument
from coterie.stores.redis.route import Route
from coterie.stores.redis.scripts import Script, group_script, topic_script
from coterie.stores.redis.wire import Reply, Wire

__all__ = ["LOG_RIGHTS", "LogCalls"]

# What a user of a log must be let do.
LOG_RIGHTS = (
    "+@connection +evalsha +eval +time +@stream +@hash +@sortedset +exists +unlink +rename +pexpire +persist +set +del "
    "+waitaof +scan +publish +subscribe +unsubscribe +info +config|get +role +cluster|slots ~{<namespace>:* "
    "&<namespace>*"
)
_KNOWN = 4096
_TOPIC = (":about", ":kept", ":ids", ":older-ids")
_GROUP = ("", ":leases", ":ready", ":due", ":wait", ":dead", ":letters", ":aside")


class _Answered:
    """The connection that a command was answered on."""

    __slots__ = ("by",)

    def __init__(self) -> None:
        self.by: Wire | None = None

    def __call__(self, wire: Wire) -> None:
        wire.is_prompt = True
        self.by = wire


class LogCalls:
    """Every command of one log store, each with its errors translated.

    prefix: of channels. where: the store's URL, without credentials. clock: microseconds, instead of the servers'.
    """

    def __init__(
        self,
        route: Route,
        durable: Durable,
        *,
        namespace: str,
        prefix: str,
        where: str,
        clock: Callable[[], int] | None,
    ) -> None:
        self._route = route
        self._durable = durable
        self._namespace = namespace
        self._prefix = prefix
        self._where = where
        self._clock = clock
        # Topics and groups are few and used often; to check and to name them costs as much as to send a command.
        self._topic = lru_cache(_KNOWN)(self._topic_keys)
        self._group = lru_cache(_KNOWN)(self._group_keys)
        self.known_consumer = lru_cache(_KNOWN)(check_consumer)

    # Each hands on what is to be awaited, and awaits nothing itself: a coroutine less in every call.

    def append(self, topic: str, arguments: Sequence[Argument]) -> Awaitable[Reply]:
        """Of `_log_append`, from the retention on. It is not sent again where it may have been carried out."""
        keys = self._topic(topic)
        return self._evaluate(
            topic_script("append"), keys, (self._now(), self._channel(topic), topic, *arguments),
            what="append to", topic=topic, writes=True,
        )  # fmt: skip

    def of_topic(self, script: str, topic: str, *arguments: Argument, what: str) -> Awaitable[Reply]:
        """A script over a topic that changes nothing."""
        keys = self._topic(topic)[:2]
        return self._evaluate(topic_script(script), keys, (self._now(), *arguments), what=what, topic=topic, again=True)

    def of_group(
        self,
        script: str,
        topic: str,
        group: str,
        *arguments: Argument,
        what: str,
        again: bool = False,
        writes: bool = True,
    ) -> Awaitable[Reply]:
        """A script over a group. again: it may be sent again though it may have been carried out."""
        keys, channel = self._group(topic, group)
        return self._evaluate(
            group_script(script), keys, (self._now(), channel, topic, group, *arguments),
            what=what, topic=topic, again=again, writes=writes,
        )  # fmt: skip

    async def drop(self, topic: str, groups: Sequence[bytes]) -> Reply:
        """Of `_log_drop`."""
        of_groups = [key for group in groups for key in self._group(topic, group.decode())[0][3:]]
        keys = (*self._topic(topic), *of_groups)
        return await self._evaluate(
            topic_script("drop"), keys, (self._now(), *groups), what="remove", topic=topic, again=True, writes=True
        )

    async def topics(self) -> list[str]:
        """The names of all topics, sorted, from every primary."""
        begin = f"{{{self._namespace}:log/"
        with translated("list the topics", self._where, rights=LOG_RIGHTS):
            found = await self._route.scan(f"{begin}*}}".encode())
        return sorted(name.decode()[len(begin) : -1] for name in found)

    def topic(self, topic: str) -> None:
        """Raises Misuse where it can be none."""
        self._topic(topic)

    def _channel(self, topic: str) -> str:
        return f"{self._prefix}log/{topic}"

    def _topic_keys(self, topic: str) -> tuple[bytes, ...]:
        stream = f"{{{self._namespace}:log/{check_topic(topic)}}}"
        return (stream.encode(), *((stream + part).encode() for part in _TOPIC))

    def _group_keys(self, topic: str, group: str) -> tuple[tuple[bytes, ...], str]:
        of_topic = self._topic(topic)
        main = of_topic[0] + b"/" + check_group(group).encode()
        return (*of_topic[:3], *(main + part.encode() for part in _GROUP)), self._channel(topic)

    def _now(self) -> Argument:
        return "" if self._clock is None else self._clock()

    async def _evaluate(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[Argument],
        *,
        what: str,
        topic: str,
        again: bool = False,
        writes: bool = False,
    ) -> Reply:
        answered = _Answered()
        try:
            reply = await evaluate(
                self._route, script, keys, arguments,
                what=what, of=topic, where=self._where, again=again, on=answered, rights=LOG_RIGHTS,
            )  # fmt: skip
        except Unavailable as error:
            # Redis 6.2 says so in other words.
            if "WRONGTYPE" in str(error.__cause__):
                raise StateFormatError(
                    f"what lies at the topic {topic!r} is no log: something else uses the key; choose a namespace that "
                    "is ours alone"
                ) from error
            raise
        if type(reply) is list and reply[:1] == [b"newer"]:
            raise StateFormatError(
                f"the topic {topic!r} is in format {reply[1].decode('utf-8', 'replace')}, of a newer coterie; use that"
            )
        if writes and answered.by is not None:
            await self._durable.settle(answered.by, keys[0], topic)
        return reply
