"""What the processes of the SQLite store's tests do: `python sqlite_process.py WHAT DATABASE`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from coterie._rules.decided import Decided, State
from coterie.stores.sqlite import SqliteStateStore

CALLERS = 4


def say(text: str) -> None:
    """A line that is out when this returns, whatever happens to the process."""
    os.write(1, f"{text}\n".encode())


def add(old: State | None, now: int) -> Decided[int]:
    count = old["n"] + 1 if old is not None else 1  # type: ignore[operator]  # it is an integer
    return Decided({"n": count}, count)


async def count(store: SqliteStateStore) -> None:
    """Count for ever, and say each number that was acknowledged."""

    async def caller() -> None:
        while True:
            say(str(await store.update("limit/x", add)))

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def hold(store: SqliteStateStore) -> None:
    """Hold the lock of the database for ever."""

    def stay(old: State | None, now: int) -> Decided[None]:
        say("holding")
        time.sleep(3600)
        return Decided({"n": 1000}, None)

    await store.update("limit/x", stay)


async def wait(store: SqliteStateStore) -> None:
    """Say what comes on a channel."""
    await store.subscribe("pool/x", lambda message: say(repr(message)))
    say("waiting")
    await asyncio.get_running_loop().create_future()


def fork(store: SqliteStateStore) -> None:
    """Fork while the store is at work in another thread; each child uses it, and ends as programs end."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def ask(work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, loop)

    ask(store.subscribe("pool/x", lambda message: say(f"told {message!r}"))).result()
    busy = [ask(_add_times(store, 200)) for _ in range(10)]
    children = []
    for number in range(1, 6):
        # Each time a different number of transactions later.
        for _ in range(number * 3):
            ask(store.update("limit/y", add)).result()
        child = os.fork()
        if child == 0:
            asyncio.run(_add_times(store, 10))
            sys.exit(0)
        children.append(child)
    for one in busy:
        one.result()
    for child in children:
        _, status = os.waitpid(child, 0)
        say(f"child ended with {os.waitstatus_to_exitcode(status)}")
    say(f"{ask(store.read('limit/x')).result()[0]}")
    ask(store.publish("pool/x", "still here")).result()
    ask(store.aclose()).result()


async def _add_times(store: SqliteStateStore, times: int) -> None:
    for _ in range(times):
        await store.update("limit/x", add)


DEEDS: dict[str, Callable[[SqliteStateStore], Coroutine[Any, Any, None]]] = {
    "count": count,
    "hold": hold,
    "wait": wait,
}

if __name__ == "__main__":
    shared = SqliteStateStore(sys.argv[2], patience_s=30)
    if sys.argv[1] == "fork":
        fork(shared)
    else:
        asyncio.run(DEEDS[sys.argv[1]](shared))
