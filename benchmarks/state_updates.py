"""Fifty callers that update one key: each store beside the plainest loop of read and compare-and-set on the same."""

from __future__ import annotations

__all__ = ["measure"]

import asyncio
import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis.asyncio
from figures import Figure, Round, Rounds
from fleet_server import Server

from coterie._rules.decided import Decided, State
from coterie._rules.timeline import moment
from coterie.ports import StateStore
from coterie.stores.memory import MemoryStateStore
from coterie.stores.redis import open_redis
from coterie.stores.sqlite import SqliteStateStore

CALLERS = 50
KEY = "limit/bench"

SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

Update = Callable[[], Awaitable[Any]]


async def measure(server: Server, *, quick: bool) -> list[Figure]:
    """Updates a second by 50 callers at once, and how many times the bare loop's that is."""
    each, count = (2, 7) if quick else (6, 21)
    figures: list[Figure] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coterie-bench-")))
        client = redis.asyncio.Redis.from_url(server.url)
        stack.push_async_callback(client.aclose)
        kinds: dict[str, tuple[Update, StateStore]] = {
            "memory": (_bare_memory(), MemoryStateStore()),
            "SQLite": (_bare_sqlite(folder / "bare.db"), SqliteStateStore(folder / "state.db")),
            "Redis": (await _bare_redis(client), open_redis(server.url, "bench")),
        }
        subjects: dict[str, Round] = {}
        for kind, (bare, store) in kinds.items():
            stack.push_async_callback(store.aclose)
            subjects[f"{kind}: bare read and compare-and-set"] = _together(bare, each)
            subjects[f"{kind}: coterie update"] = _together(_through(store), each)
        rounds = Rounds("50 callers update one key", subjects, count=count)
        await rounds.run()
        for kind, (_, store) in kinds.items():
            state, _ = await store.read(KEY)
            expected = CALLERS * each * (count + 1)
            if state is None or state["total"] != expected:
                raise RuntimeError(f"{kind} lost updates: {state} instead of {expected}")
            base = f"{kind}: bare read and compare-and-set"
            found = [rounds.figure(name, "per s", base=base) for name in (base, f"{kind}: coterie update")]
            figures += [replace(figure, section=f"{rounds.section}, {kind}") for figure in found]
    return figures


def _count(state: State | None, now: int) -> Decided[None]:
    before: Any = state["total"] if state else 0
    return Decided({**moment(state, now).stamp(), "total": before + 1}, None)


def _through(store: StateStore) -> Update:
    return lambda: store.update(KEY, _count)


def _bare_memory() -> Update:
    kept = {KEY: json.dumps({"total": 0})}

    async def update() -> None:
        while True:
            seen = kept[KEY]
            made = json.dumps({"total": json.loads(seen)["total"] + 1})
            if kept[KEY] is seen:
                kept[KEY] = made
                return

    return update


def _bare_sqlite(path: Path) -> Update:
    """A connection a thread, of as many threads as the event loop has for such work."""
    of_thread = threading.local()

    def connection() -> sqlite3.Connection:
        if not hasattr(of_thread, "connection"):
            of_thread.connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            of_thread.connection.execute("PRAGMA journal_mode=WAL")
            of_thread.connection.execute("PRAGMA synchronous=NORMAL")
        made: sqlite3.Connection = of_thread.connection
        return made

    def blocking() -> None:
        while True:
            (seen,) = connection().execute("SELECT text FROM states WHERE key = ?", (KEY,)).fetchone()
            made = json.dumps({"total": json.loads(seen)["total"] + 1})
            swapped = connection().execute("UPDATE states SET text = ? WHERE key = ? AND text = ?", (made, KEY, seen))
            if swapped.rowcount:
                return

    connection().execute("CREATE TABLE states (key TEXT PRIMARY KEY, text TEXT)")
    connection().execute("INSERT INTO states VALUES (?, ?)", (KEY, json.dumps({"total": 0})))
    return lambda: asyncio.to_thread(blocking)


async def _bare_redis(client: redis.asyncio.Redis) -> Update:
    key = "bench:bare-state"
    await client.set(key, json.dumps({"total": 0}))
    sha = await client.script_load(SWAP)

    async def update() -> None:
        while True:
            seen: Any = await client.get(key)
            made = json.dumps({"total": json.loads(seen)["total"] + 1})
            if await client.evalsha(sha, 1, key, seen, made):
                return

    return update


def _together(update: Update, each: int) -> Round:
    async def worker() -> None:
        for _ in range(each):
            await update()

    async def run() -> float:
        began = time.perf_counter()
        await asyncio.gather(*[worker() for _ in range(CALLERS)])
        return CALLERS * each / (time.perf_counter() - began)

    return run
