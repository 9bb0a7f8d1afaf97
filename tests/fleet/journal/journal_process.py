"""What the processes of the journals' tests do: `python journal_process.py WHAT DATABASE [NUMBER]`."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any

from coterie._rules.written import Changed, Guard
from coterie.errors import CoterieError
from coterie.stores.journal_sqlite import SqliteJournalStore
from coterie.testing.faults_journal import FaultyJournalStore, When
from coterie.testing.journal_handles import count_up, take_over

CALLERS = 4


def say(text: str) -> None:
    """A line that is out when this returns, whatever happens to the process."""
    os.write(1, f"{text}\n".encode())


async def write(store: SqliteJournalStore, prefix: str) -> None:
    """Claim, then write pairs of texts for ever, and say each pair that was acknowledged."""
    mine = Guard(f"claim/{prefix}", prefix)
    await store.change("one", [mine.path], take_over(mine.path, mine.text))
    numbers = itertools.count()

    async def caller() -> None:
        while True:
            name = f"{prefix}.{next(numbers)}"
            await store.write("one", {f"a/{name}": name, f"b/{name}": name * 50}, guard=mine)
            count = await store.change("counted", ["n"], count_up())
            say(f"{name} {count}")

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def zygote(path: str) -> None:
    """For each line that comes in: a child that writes, and says first what its number is."""
    for number in itertools.count():
        if not sys.stdin.readline():
            return
        child = os.fork()
        if child == 0:
            say(f"pid {os.getpid()}")
            asyncio.run(write(SqliteJournalStore(path, patience_s=30), f"g{number}"))
        os.waitpid(child, 0)
        say("gone")


async def hold(store: SqliteJournalStore) -> None:
    """Hold the lock of the database for ever."""

    def stay(texts: Mapping[str, str | None], now: int) -> Changed[None]:
        say("holding")
        time.sleep(3600)
        return Changed({"n": "1000"}, None)

    await store.change("one", ["n"], stay)


async def fill(store: SqliteJournalStore) -> None:
    """Write, and say what was acknowledged, until nothing can grow any more; then say why, and what can be read."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    done = 0
    try:
        while True:
            await store.write("one", {f"p{done}": f"{done:5}" * 1000})
            done += 1
    except CoterieError as error:
        say(f"{type(error).__name__} {error}")
    say(f"{done} {len(await store.read('one'))}")


async def die(store: SqliteJournalStore, number: int, when: str) -> None:
    """Write one text after the other, and be killed at one of them."""

    def strike(reached: int, now: When) -> None:
        if (reached, now) == (number, when):
            os.killpg(os.getpgrp(), signal.SIGKILL)

    faulty = FaultyJournalStore(store, on_write=strike)
    for n in itertools.count(1):
        await faulty.write("one", {f"p{n}": "x"})


def fork(store: SqliteJournalStore) -> None:
    """Fork while the store is at work in another thread; each child uses it, and ends as programs end."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def ask(work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, loop)

    busy = [ask(_add_times(store, 100)) for _ in range(10)]
    children = []
    for number in range(1, 6):
        # Each time a different number of transactions later.
        for _ in range(number * 3):
            ask(store.change("two", ["n"], count_up())).result()
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
    say(f"{ask(store.read('one')).result()}")
    ask(store.aclose()).result()


async def _add_times(store: SqliteJournalStore, times: int) -> None:
    for _ in range(times):
        await store.change("one", ["n"], count_up())


DEEDS: dict[str, Callable[[SqliteJournalStore], Coroutine[Any, Any, None]]] = {
    "write": lambda store: write(store, f"p{os.getpid()}"),
    "hold": hold,
    "fill": fill,
    "die": lambda store: die(store, int(sys.argv[3]), sys.argv[4]),
}

if __name__ == "__main__":
    if sys.argv[1] == "zygote":
        zygote(sys.argv[2])
    elif sys.argv[1] == "fork":
        fork(SqliteJournalStore(sys.argv[2], patience_s=30))
    else:
        asyncio.run(DEEDS[sys.argv[1]](SqliteJournalStore(sys.argv[2], patience_s=30)))
