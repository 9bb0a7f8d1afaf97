"""Who publishes and consumes in `bus.py`: redis-py alone, with and without reading the JSON, FastStream and taskiq.

Each on one Redis stream and in the manner its documentation shows; batches where it has any.
"""

# ruff: noqa: D102 - what each method does, `Side` says.
from __future__ import annotations

__all__ = ["Bare", "FastStream", "Order", "Side", "TaskIq", "Watch", "orders"]

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import redis.asyncio
from redis.exceptions import ResponseError

GROUP = "bench"
TYPE = "com.example.order.placed"
KEYS = 500
# What one reads at once, where it lets one choose.
COUNT = 100
_END_S = 3.0


@dataclass(frozen=True)
class Order:
    """One payload. text: the whole event as JSON, as it would lie in the log; event: the same, not yet written."""

    key: str
    data: dict[str, Any]
    event: dict[str, Any]
    text: str


def orders(count: int) -> list[Order]:
    """So many different ones, about 400 bytes each as CloudEvents."""
    made = []
    for number in range(count):
        key = f"customer-{number % KEYS}"
        data = {
            "order": f"o-{number:08}",
            "customer": key,
            "lines": [{"sku": "A-1001", "count": 2}, {"sku": "B-2002", "count": 1}],
            "total": 129.5,
        }
        event = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": "benchmark",
            "type": TYPE,
            "time": "2026-01-01T00:00:00.000000Z",
            "datacontenttype": "application/json",
            "partitionkey": key,
            "data": data,
        }
        made.append(Order(key, data, event, json.dumps(event, separators=(",", ":"))))
    return made


class Watch:
    """Counts what is handled, and takes the time from the first to the last."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.count = count
        self._began = 0.0
        self._ended = 0.0
        self._over = asyncio.Event()

    def handled(self) -> None:
        """One more."""
        if self._left == self.count:
            self._began = time.perf_counter()
        self._left -= 1
        if not self._left:
            self._ended = time.perf_counter()
            self._over.set()

    async def rate(self, *, within_s: float = 300.0) -> float:
        """Events a second, once all have been handled."""
        async with asyncio.timeout(within_s):
            await self._over.wait()
        return (self.count - 1) / (self._ended - self._began)


class Side(Protocol):
    """One that publishes to a stream and consumes it, a new stream each time."""

    async def publish(self, stream: str, orders: Sequence[Order]) -> None:
        """One after the other, each acknowledged before the next."""
        ...

    async def publish_all(self, stream: str, orders: Sequence[Order], size: int) -> None:
        """So many at once."""
        ...

    async def consume(self, stream: str, watch: Watch) -> float:
        """Events a second, from the first handled to the last; each is acknowledged."""
        ...

    async def aclose(self) -> None:
        """Give up connections."""
        ...


class Bare:
    """redis-py, asyncio, hiredis: the commands, and nothing else. parse: reads the JSON of each event."""

    def __init__(self, url: str, *, parse: bool = False) -> None:
        self.client = redis.asyncio.Redis.from_url(url)
        self._parse = parse

    async def publish(self, stream: str, orders: Sequence[Order]) -> None:
        for order in orders:
            await self.client.xadd(stream, {"e": order.text})

    async def publish_all(self, stream: str, orders: Sequence[Order], size: int) -> None:
        for start in range(0, len(orders), size):
            pipe = self.client.pipeline(transaction=False)
            for order in orders[start : start + size]:
                pipe.xadd(stream, {"e": order.text})
            await pipe.execute()

    async def consume(self, stream: str, watch: Watch) -> float:
        await group(self.client, stream)
        left = watch.count
        while left > 0:
            answer: Any = await self.client.xreadgroup(GROUP, "one", {stream: ">"}, count=COUNT, block=1000)
            if not answer:
                continue
            entries = answer[0][1]
            for _, fields in entries:
                if self._parse:
                    json.loads(fields[b"e"])
                watch.handled()
            await self.client.xack(stream, GROUP, *[position for position, _ in entries])
            left -= len(entries)
        return await watch.rate()

    async def aclose(self) -> None:
        await self.client.aclose()


class FastStream:
    """A group's subscriber; whole batches through a pipeline. batch: its handler gets a list of up to 100."""

    def __init__(self, url: str, *, batch: bool = False) -> None:
        self._url = url
        self._batch = batch
        self._quiet = {"logger": None, "log_level": logging.CRITICAL}
        self._broker: Any = None

    async def publish(self, stream: str, orders: Sequence[Order]) -> None:
        broker = await self._connected()
        for order in orders:
            await broker.publish(order.event, stream=stream)

    async def publish_all(self, stream: str, orders: Sequence[Order], size: int) -> None:
        broker = await self._connected()
        for start in range(0, len(orders), size):
            async with broker._connection.pipeline(transaction=False) as pipe:  # noqa: SLF001 - as its documentation does
                for order in orders[start : start + size]:
                    await broker.publish(order.event, stream=stream, pipeline=pipe)
                await pipe.execute()

    async def consume(self, stream: str, watch: Watch) -> float:
        from faststream.redis import RedisBroker, StreamSub

        broker = RedisBroker(self._url, **self._quiet)
        sub = StreamSub(stream, group=GROUP, consumer="one", max_records=COUNT, batch=self._batch)

        async def handle(event: dict[str, Any]) -> None:
            watch.handled()

        async def handle_all(events: list[dict[str, Any]]) -> None:
            for _ in events:
                watch.handled()

        broker.subscriber(stream=sub)(handle_all if self._batch else handle)
        await broker.connect()
        await group(broker._connection, stream)  # noqa: SLF001
        await broker.start()
        try:
            return await watch.rate()
        finally:
            await broker.stop()

    async def aclose(self) -> None:
        if self._broker is not None:
            await self._broker.stop()

    async def _connected(self) -> Any:
        if self._broker is None:
            from faststream.redis import RedisBroker

            self._broker = RedisBroker(self._url, **self._quiet)
            await self._broker.connect()
        return self._broker


class TaskIq:
    """A task on a `RedisStreamBroker`; it has no batches, so that many `kiq` at once stand for one."""

    def __init__(self, url: str) -> None:
        # It complains of being ended while it reads, which is how it is ended here.
        logging.getLogger("taskiq").setLevel(logging.CRITICAL + 1)
        self._url = url
        self._brokers: dict[str, tuple[Any, Any]] = {}

    async def publish(self, stream: str, orders: Sequence[Order]) -> None:
        task = await self._task(stream)
        for order in orders:
            await task.kiq(order.event)

    async def publish_all(self, stream: str, orders: Sequence[Order], size: int) -> None:
        task = await self._task(stream)
        for start in range(0, len(orders), size):
            await asyncio.gather(*[task.kiq(order.event) for order in orders[start : start + size]])

    async def consume(self, stream: str, watch: Watch) -> float:
        from taskiq.receiver import Receiver

        await self._task(stream)
        self._watch = watch
        broker, _ = self._brokers.pop(stream)
        broker.is_worker_process = True
        finish = asyncio.Event()
        receiving = asyncio.create_task(Receiver(broker, max_async_tasks=COUNT).listen(finish))
        try:
            return await watch.rate()
        finally:
            await _acknowledged(self._url, stream)
            finish.set()
            receiving.cancel()
            # It does not end while it reads.
            await asyncio.wait([receiving], timeout=_END_S)
            await broker.shutdown()

    async def aclose(self) -> None:
        for broker, _ in self._brokers.values():
            await broker.shutdown()

    async def _task(self, stream: str) -> Any:
        if stream not in self._brokers:
            from taskiq_redis import RedisStreamBroker

            names = {"queue_name": stream, "consumer_group_name": GROUP, "consumer_id": "0"}
            broker = RedisStreamBroker(self._url, **names, xread_block=100, xread_count=COUNT)

            async def handle(event: dict[str, Any]) -> None:
                self._watch.handled()

            self._brokers[stream] = broker, broker.register_task(handle, task_name="handle")
            await broker.startup()
        return self._brokers[stream][1]


async def _acknowledged(url: str, stream: str) -> None:
    """Wait until nothing is pending: what is handled may not have been acknowledged yet."""
    async with redis.asyncio.Redis.from_url(url) as client:
        for _ in range(100):
            if not (await client.xpending(stream, GROUP))["pending"]:
                return
            await asyncio.sleep(0.02)


async def group(client: Any, stream: str) -> None:
    """Make the group, from the stream's beginning on."""
    with contextlib.suppress(ResponseError):
        await client.xgroup_create(stream, GROUP, id="0", mkstream=True)
