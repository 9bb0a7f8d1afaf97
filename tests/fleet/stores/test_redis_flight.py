"""Callers of one key share trips: none is lost, none is starved, the first to come is served first."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from coterie._rules.decided import Decided, Signal, State
from coterie.errors import Misuse, Unavailable
from coterie.stores.redis import RedisPolicy, RedisStateStore, open_redis
from coterie.stores.redis.flight import Flight, Seen
from coterie.stores.redis.fold import Ask
from tests.fleet.twins.counting import count, twins
from tests.support.redis_servers import HOST, Server, valkey
from tests.support.tcp_proxy import TcpProxy

REPOSITORY = Path(__file__).resolve().parents[3]
WEDGED_S = 60.0
KEY = "limit/hot"
PROCESSES, CALLERS, EACH = 4, 16, 15


def add(old: State | None, now: int) -> Decided[int]:
    before = old["n"] if old else 0
    assert isinstance(before, int)
    return Decided({"n": before + 1}, before + 1)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with valkey() as running:
        yield running


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RedisStateStore]:
    opened = open_redis(server.url, uuid.uuid4().hex, twins=twins)
    yield opened
    await opened.aclose()


def commands(server: Server) -> int:
    """How many scripts it has run."""
    with server.client() as client:
        stats = client.info("commandstats")
    return sum(stats.get(name, {"calls": 0})["calls"] for name in ("cmdstat_eval", "cmdstat_evalsha"))


async def test_callers_are_served_in_the_order_of_arrival_in_few_trips(server, store):
    await store.update(KEY, add)
    before = commands(server)

    counts = await asyncio.gather(*(store.update(KEY, add) for _ in range(200)))

    assert counts == list(range(2, 202))
    # One reading, and 200 decisions in four swaps.
    assert commands(server) - before == 5


async def test_a_conflict_costs_one_trip(server, store):
    with server.client() as client:
        client.set(f"{{{store.namespace}:{KEY}}}", '{"n":1}')
        script_runs = []

        def meddle(old: State | None, now: int) -> Decided[int]:
            # Between the reading and the swap somebody else comes.
            script_runs.append(old)
            if len(script_runs) == 1:
                client.set(f"{{{store.namespace}:{KEY}}}", '{"n":10}')
            return add(old, now)

        await store.update("limit/warm", add)
        before = commands(server)
        assert await store.update(KEY, meddle) == 11

    assert script_runs == [{"n": 1}, {"n": 10}]
    assert commands(server) - before == 3


async def test_a_decision_that_changes_nothing_is_not_written_and_keeps_its_expiry(server, store):
    await store.update(KEY, add, keep_s=100)
    before = commands(server)

    assert await store.update(KEY, lambda old, now: Decided(old, old)) == {"n": 1}

    assert commands(server) - before == 1
    with server.client() as client:
        assert 0 < client.pttl(f"{{{store.namespace}:{KEY}}}") <= 100_000


async def test_decisions_that_are_stored_together_are_kept_for_the_longest_time_of_any(server, store):
    name = f"{{{store.namespace}:{KEY}}}"

    with server.client() as client:
        await asyncio.gather(store.update(KEY, add, keep_s=5), store.update(KEY, add, keep_s=500))
        assert 5_000 < client.pttl(name) <= 500_000

        await asyncio.gather(store.update(KEY, add, keep_s=5), store.update(KEY, add))
        assert client.pttl(name) == -1


async def test_signals_of_decisions_that_undo_each_other_are_sent(store):
    inbox: asyncio.Queue[str | None] = asyncio.Queue()
    await store.subscribe(KEY, inbox.put_nowait)

    await asyncio.gather(
        store.update(KEY, lambda old, now: Decided({"n": 1}, None, (Signal(KEY, "on"),))),
        store.update(KEY, lambda old, now: Decided(None, None, (Signal(KEY, "off"),))),
    )
    await store.publish(KEY, "end")

    async with asyncio.timeout(WEDGED_S):
        assert [await inbox.get() for _ in range(3)] == ["on", "off", "end"]


async def test_of_decisions_that_are_stored_together_only_the_wrong_ones_fail(store):
    def no_json(old: State | None, now: int) -> Decided[None]:
        return Decided({"n": float("nan")}, None)

    def bad_signal(old: State | None, now: int) -> Decided[None]:
        return Decided({"n": 7}, None, (Signal("no channel", "x"),))

    ends = await asyncio.gather(
        *(store.update(KEY, decide) for decide in (add, no_json, add, bad_signal, add)), return_exceptions=True
    )

    assert [end if isinstance(end, int) else type(end) for end in ends] == [1, Misuse, 2, Misuse, 3]


async def test_a_caller_who_leaves_while_waiting_leaves_nothing_half_done(server):
    async with TcpProxy(server.port) as proxy:
        store = open_redis(f"redis://{HOST}:{proxy.port}", uuid.uuid4().hex)
        await store.update(KEY, add)
        proxy.stall()
        first = asyncio.ensure_future(store.update(KEY, add))
        await asyncio.sleep(0)
        later = [asyncio.ensure_future(store.update(KEY, add)) for _ in range(10)]
        await asyncio.sleep(0)

        for caller in later[::2]:
            caller.cancel()
        await asyncio.sleep(0)
        proxy.flow()

        assert await first == 2
        assert await asyncio.gather(*later[1::2]) == [3, 4, 5, 6, 7]
        assert (await store.read(KEY))[0] == {"n": 7}
        await store.aclose()


async def test_a_caller_who_was_crossed_for_too_long_is_told(server):
    store = open_redis(server.url, uuid.uuid4().hex, policy=RedisPolicy(update_timeout_s=0.2))
    with server.client() as client:

        def crossed(old: State | None, now: int) -> Decided[None]:
            client.set(f"{{{store.namespace}:{KEY}}}", json.dumps({"x": uuid.uuid4().hex}))
            return Decided({"mine": 1}, None)

        with pytest.raises(Unavailable, match="others kept changing"):
            await store.update(KEY, crossed)
        assert "x" in ((await store.read(KEY))[0] or {})
    await store.aclose()


class HeldTrips:
    """One key in memory; the test says when the answer to a swap arrives."""

    def __init__(self) -> None:
        self.value: bytes | None = None
        self.readings = 0
        self.swapped = asyncio.Event()
        self.answered = asyncio.Event()

    async def read(self, key: str) -> Seen:
        self.readings += 1
        return Seen(self.value, 1)

    async def swap(
        self, key: str, expected: bytes | None, text: str | None, keep_s: float | None, signals: Sequence[Signal]
    ) -> tuple[bool, Seen]:
        assert (expected, text) == (self.value, text or "")
        self.value = (text or "").encode()
        seen = Seen(self.value, 2)
        self.swapped.set()
        await self.answered.wait()
        return True, seen


async def test_who_comes_while_a_trip_is_under_way_is_not_answered_with_what_it_saw():
    trips = HeldTrips()
    flight = Flight(KEY, trips, timeout_s=WEDGED_S, over=lambda: None)
    first = asyncio.ensure_future(flight.join(Ask(add, None)))
    await trips.swapped.wait()
    # Another process changes the state, and tells us, who then ask.
    trips.value = b'{"n":50}'
    later = asyncio.ensure_future(flight.join(Ask(lambda old, now: Decided(old, old), None)))
    await asyncio.sleep(0)

    trips.answered.set()

    assert await first == 1
    assert await later == {"n": 50}
    assert trips.readings == 2


async def test_an_operation_that_is_cancelled_before_it_left_is_not_carried_out(server, store):
    await store.update(KEY, count(1))
    before = commands(server)

    leaving = asyncio.ensure_future(store.update(KEY, count(1)))
    # It runs up to the point where its command waits for the end of the tick.
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    assert (await store.read(KEY))[0]["total"] == 1
    assert commands(server) - before == 1


PROGRAM = """
import asyncio, json, sys
from coterie._rules.decided import Decided
from coterie.stores.redis import open_redis

async def main(url, namespace, key, callers, each):
    store = open_redis(url, namespace)
    seen = []
    def add(old, now):
        n = old["n"] + 1 if old else 1
        return Decided({"n": n}, n)
    async def call():
        for _ in range(each):
            seen.append(await store.update(key, add))
    await asyncio.gather(*(call() for _ in range(callers)))
    await store.aclose()
    print(json.dumps(seen))

asyncio.run(main(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])))
"""


def test_a_storm_of_processes_loses_no_update_and_starves_nobody(server: Server):
    namespace = uuid.uuid4().hex
    arguments = [server.url, namespace, KEY, str(CALLERS), str(EACH)]
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE
        )
        for _ in range(PROCESSES)
    ]

    printed = [process.communicate(timeout=WEDGED_S)[0] for process in running]

    assert [process.returncode for process in running] == [0] * PROCESSES
    seen = Counter(number for text in printed for number in json.loads(text))
    assert sorted(seen.elements()) == list(range(1, PROCESSES * CALLERS * EACH + 1))


FORKING = """
import asyncio, os, sys
from coterie._rules.decided import Decided
from coterie.stores.redis import open_redis

def add(old, now):
    n = old["n"] + 1 if old else 1
    return Decided({"n": n}, n)

async def main():
    store = open_redis(sys.argv[1], sys.argv[2])
    heard = []
    await store.subscribe("pool/x", heard.append)
    await store.update("pool/x", add)
    child = os.fork()
    if child == 0:
        # As a worker does: a loop of its own, in a thread where none runs.
        import threading
        ends = []
        async def work():
            for _ in range(20):
                ends.append(await store.update("pool/x", add))
            await store.aclose()
        thread = threading.Thread(target=lambda: asyncio.run(work()))
        thread.start(); thread.join()
        os._exit(0 if len(ends) == 20 else 1)
    for _ in range(20):
        await store.update("pool/x", add)
    status = await asyncio.to_thread(os.waitpid, child, 0)
    await store.publish("pool/x", "still here")
    while not heard:
        await asyncio.sleep(0.005)
    state, _ = await store.read("pool/x")
    await store.aclose()
    print(status[1], state["n"], heard)

asyncio.run(main())
"""


def test_a_forked_process_makes_connections_of_its_own(server: Server):
    ran = subprocess.run(
        [sys.executable, "-c", FORKING, server.url, uuid.uuid4().hex],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=WEDGED_S, check=False,
    )  # fmt: skip

    assert (ran.stdout.split(), ran.stderr) == (["0", "41", "['still", "here']"], "")


async def test_a_second_event_loop_is_told_to_open_a_store_of_its_own(store):
    await store.update(KEY, add)

    with pytest.raises(Misuse, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(store.update(KEY, add)))

    assert await store.update(KEY, add) == 2


@pytest.mark.parametrize("change", [add, count(1)], ids=["compare and set", "twin"])
async def test_a_clock_of_the_test_s_own_is_used_throughout(server, change):
    instant = 1_700_000_000_000_000
    store = open_redis(server.url, uuid.uuid4().hex, twins=twins, clock=lambda: instant)

    await store.update(KEY, change)

    assert (await store.read(KEY))[1] == instant
    assert await store.update(KEY, Decided) == instant
    if change is not add:
        assert ((await store.read(KEY))[0] or {})["t0"] == 1_700_000_000
    await store.aclose()


async def test_what_a_twin_leaves_to_the_rule_is_decided_by_the_rule(store):
    await store.update(KEY, count(5))

    assert (await store.update(KEY, count(7, skip=True)))["total"] == 12
    assert (await store.update(KEY, count(1)))["total"] == 13
