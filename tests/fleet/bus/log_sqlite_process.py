"""What the processes of the SQLite log's tests do: `python log_sqlite_process.py WHAT DATABASE [NAME]`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from coterie._rules.log import Message, Retention, Terms
from coterie.stores.log_sqlite import SqliteLogStore

TOPIC = "events"
GROUP = "group"
BATCH = 5
KEEP = Retention(max_messages=None)
TERMS = Terms(max_deliveries=1000)


def say(text: str) -> None:
    """A line that is out when this returns, whatever happens to the process."""
    os.write(1, f"{text}\n".encode())


def made(name: str, first: int, count: int = BATCH) -> list[Message]:
    """Messages, the ids of which say who made them, and in which order."""
    return [Message(f"{name}:{number:06}", "made", "x" * 200, key=name) for number in range(first, first + count)]


async def append(store: SqliteLogStore, name: str) -> None:
    """Append for ever, and say what was acknowledged."""
    first = 0
    while True:
        batch = made(name, first)
        await store.append(TOPIC, batch, retention=KEEP)
        say(" ".join(message.id for message in batch))
        first += BATCH


async def work(store: SqliteLogStore, name: str) -> None:
    """Take and acknowledge for ever, and say what was taken, then that it was acknowledged."""
    while True:
        taken = await store.take(TOPIC, GROUP, name, terms=TERMS, limit=4)
        for delivery in taken.deliveries:
            say(f"took {delivery.logged.message.id}")
        stale = await store.acknowledge(TOPIC, GROUP, name, [one.logged.position for one in taken.deliveries])
        for delivery in taken.deliveries:
            if delivery.logged.position not in stale:
                say(f"done {delivery.logged.message.id}")
        if not taken.deliveries:
            say("idle")
            await asyncio.sleep(0.01)


async def hold(store: SqliteLogStore, name: str) -> None:
    """Take what there is, and hold it for ever."""
    taken = await store.take(TOPIC, GROUP, name, terms=TERMS, limit=100)
    say(" ".join(delivery.logged.message.id for delivery in taken.deliveries))
    await asyncio.get_running_loop().create_future()


async def watch(store: SqliteLogStore, name: str) -> None:
    """Say what comes on a topic."""
    await store.watch(TOPIC, lambda message: say(f"{name} told {message!r}"))
    say("watching")
    await asyncio.get_running_loop().create_future()


def fork(store: SqliteLogStore) -> None:
    """Fork while the store is at work in another thread; each child uses it, and ends as programs end."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def ask(asked: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(asked, loop)

    busy = [ask(_append_times(store, f"parent{number}", 40)) for number in range(5)]
    children = []
    for number in range(4):
        ask(_append_times(store, f"between{number}", number)).result()
        child = os.fork()
        if child == 0:
            asyncio.run(_append_times(store, f"child{number}", 10))
            sys.exit(0)
        children.append(child)
    for one in busy:
        one.result()
    for child in children:
        _, status = os.waitpid(child, 0)
        say(f"child ended with {os.waitstatus_to_exitcode(status)}")
    (topic,) = ask(store.topics()).result()
    say(f"{topic.messages} of {topic.appended}")
    ask(store.aclose()).result()


async def _append_times(store: SqliteLogStore, name: str, times: int) -> None:
    for number in range(times):
        await store.append(TOPIC, made(name, number, 1), retention=KEEP)


DEEDS: dict[str, Callable[[SqliteLogStore, str], Coroutine[Any, Any, None]]] = {
    "append": append,
    "hold": hold,
    "watch": watch,
    "work": work,
}

if __name__ == "__main__":
    shared = SqliteLogStore(sys.argv[2], patience_s=30)
    if sys.argv[1] == "fork":
        fork(shared)
    else:
        asyncio.run(DEEDS[sys.argv[1]](shared, sys.argv[3]))
