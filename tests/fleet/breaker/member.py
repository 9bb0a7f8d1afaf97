"""One process of a fleet, told on standard input what to do; run by `test_processes.py`.

Commands, one a line: `fail N`, `work`, `state WANTED` (wait for it), `hold` (begin a call that never ends), `end`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading

from coterie.breaker import BreakerPolicy, CircuitBreaker
from coterie.errors import BreakerOpen
from coterie.stores.sqlite import SqliteStateStore
from tests.fleet.breaker.world import Broken, fail, until, work


async def main(path: str, residence: str, policy: str) -> None:
    store = SqliteStateStore(path)
    breaker = CircuitBreaker("agent", BreakerPolicy(**json.loads(policy)), store=store, residence=residence)  # type: ignore[arg-type]  # the test's
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "end")

    threading.Thread(target=read, daemon=True).start()
    await breaker.refresh()
    say("ready")
    held: set[asyncio.Task[None]] = set()
    while (command := (await lines.get()).split())[0] != "end":
        if command[0] == "hold":
            held.add(asyncio.ensure_future(hold(breaker)))
        else:
            say(await obey(breaker, *command))
    await breaker.aclose()
    await store.aclose()


async def obey(breaker: CircuitBreaker, what: str, more: str = "") -> str:
    if what == "fail":
        for _ in range(int(more)):
            with contextlib.suppress(Broken, BreakerOpen):
                await breaker.call(fail)
        await breaker.refresh()
        return "failed"
    if what == "state":
        await until(lambda: breaker.get_state().state == more, more)
        return more
    try:
        return str(await breaker.call(work))
    except BreakerOpen as refused:
        return f"refused {refused.retry_after_s}"


async def hold(breaker: CircuitBreaker) -> None:
    """Begin a call that never ends, as soon as one may begin."""

    async def endless() -> None:
        say("held")
        await asyncio.sleep(3600)

    while True:
        try:
            await breaker.call(endless)
        except BreakerOpen as refused:
            await asyncio.sleep(refused.retry_after_s)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
