"""Event loops that come and go: one at a time is served, two at once are refused."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from coterie.breaker import CircuitBreaker
from coterie.errors import BreakerOpen, Misuse
from coterie.stores.sqlite import SqliteStateStore
from tests.fleet.breaker.world import CERTAIN, end_of, failures, until, work


@pytest.mark.parametrize("residence", ["resident", "transient", "auto"])
def test_a_shared_breaker_serves_one_loop_after_another(tmp_path: Path, residence: str):
    store = SqliteStateStore(tmp_path / "state.db")
    breaker = CircuitBreaker("agent", CERTAIN, store=store, residence=residence)  # type: ignore[arg-type]  # of the table

    async def one_failure() -> None:
        await failures(breaker, 1)
        await breaker.refresh()

    for _ in range(5):
        asyncio.run(one_failure())
    end = asyncio.run(end_of(breaker.call(work)))
    asyncio.run(store.aclose())

    assert isinstance(end, BreakerOpen)


def test_a_loop_that_ends_without_aclose_leaves_nothing_that_warns(tmp_path: Path):
    async def use() -> None:
        store = SqliteStateStore(tmp_path / "state.db")
        breaker = CircuitBreaker("agent", store=store, residence="resident")
        await breaker.call(work)
        await store.aclose()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(use())
        gc.collect()


def test_two_running_loops_are_refused(tmp_path: Path):
    started, done = threading.Event(), threading.Event()
    store = SqliteStateStore(tmp_path / "state.db")
    breaker = CircuitBreaker("agent", store=store, residence="transient")

    async def first() -> None:
        await breaker.call(work)
        started.set()
        await asyncio.to_thread(done.wait)
        await store.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(first()))
    thread.start()
    started.wait()
    try:
        with pytest.raises(Misuse, match="another running event loop"):
            asyncio.run(breaker.call(work))
    finally:
        done.set()
        thread.join()


def test_by_hand_a_shared_breaker_needs_a_loop(tmp_path: Path):
    breaker = CircuitBreaker("agent", store=SqliteStateStore(tmp_path / "state.db"))

    with pytest.raises(Misuse, match="no event loop runs here"):
        breaker.reset()


def test_a_loop_that_is_stopped_with_calls_waiting_cancels_them(tmp_path: Path):
    store = SqliteStateStore(tmp_path / "state.db")
    breaker = CircuitBreaker("agent", store=store, residence="resident")
    seen: list[str] = []

    async def hang() -> None:
        try:
            await breaker.call(asyncio.sleep, 3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        task = asyncio.ensure_future(hang())
        await until(lambda: breaker.get_state().store == "resident", "attached")
        assert not task.done()
        await store.aclose()

    asyncio.run(main())

    assert seen == ["cancelled"]


FORKED = """
import asyncio, os, sys
from coterie.breaker import CircuitBreaker
from coterie.stores.memory import MemoryStateStore
from coterie.testing.faults_state import FaultyStateStore

async def work(): ...

store = FaultyStateStore(MemoryStateStore())
breaker = CircuitBreaker("agent", store=store, residence="resident")
loop = asyncio.new_event_loop()
loop.run_until_complete(breaker.call(work))
store.calls.clear()
child = os.fork()
asyncio.run(breaker.call(work)) if child == 0 else None
if child == 0:
    sys.stdout.write(f"{store.calls}")
    sys.stdout.flush()
    os._exit(0)  # as schedulers' children do
assert os.waitpid(child, 0)[1] == 0
loop.run_until_complete(breaker.aclose())
loop.close()
"""


def test_a_forked_process_asks_the_store_for_itself():
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKED], capture_output=True, text=True, check=True, timeout=60
    )

    assert ended.stdout == "[('subscribe', 'breaker/agent'), ('read', 'breaker/agent')]"
    assert ended.stderr == ""
