"""What commands cost on a real store, and real fleets: what the simulation is made of, and what it is compared with."""

from __future__ import annotations

__all__ = ["POINTS", "Point", "Real", "measure_costs", "quietest", "run_point"]

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fleet_server import Server, serve
from scaling_member import Part
from scaling_model import Costs, Fleet

from coterie import BreakerPolicy, CircuitBreaker, PoolPolicy, Quota, RateLimiter, ResourcePool
from coterie.ports import StateStore
from coterie.stores.opening import open_state_store

WARM_S = 3.0
MEASURED_S = 5.0
ROUNDS = 4
COMMANDS = 60
MANY = 300
REPORTS = 60
SAMPLES = 100
# No heartbeat falls into what is measured.
SELDOM = PoolPolicy(lease_s=3600.0, heartbeat_s=1000.0, queue_limit=10_000)
# CPU microseconds so far of whoever does the store's work.
Meter = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Point:
    """A fleet that is run for real, for so long, and simulated."""

    name: str
    fleet: Fleet
    store: str = "redis"
    measured_s: float = MEASURED_S


@dataclass(frozen=True, slots=True)
class Real:
    """What a real fleet came to. foreign: how many threads of others ran, or would have."""

    per_s: float
    failed: int
    wait_p50_s: float
    call_us: float
    foreign: float


POINTS = [
    Point("slots are short", Fleet(callers=40, processes=2, seconds=0.05, capacity=10)),
    Point("a limit of 100 a second", Fleet(callers=20, processes=2, seconds=0.05, capacity=10, rate_per_s=100.0)),
    Point("one agent of four is down", Fleet(callers=40, processes=2, seconds=0.05, agents=4, capacity=5, down=1)),
    Point("a hundred agents", Fleet(callers=200, processes=2, seconds=0.5, agents=100)),
    Point("400 calls at once", Fleet(callers=400, processes=2, seconds=2.0, capacity=400)),
    Point("600 at once, too many", Fleet(callers=600, processes=2, seconds=0.5, capacity=600)),
    Point("600 agents", Fleet(callers=600, processes=4, seconds=10.0, agents=600), measured_s=30.0),
    Point("slots are short", Fleet(callers=40, processes=2, seconds=0.05, capacity=10), "sqlite"),
]


def measure_costs(kind: str) -> Costs:
    """What each kind of command takes a store, `redis` or `sqlite`, and a call takes the process that makes it."""
    with _store_of(kind) as (url, meter):
        costs = asyncio.run(_commands(kind, url, meter))
    point = replace(POINTS[0], store=kind, measured_s=3.0)
    return replace(costs, call=run_point(point).call_us)


def quietest(point: Point, *, tries: int) -> Real:
    """Of several runs the one during which others did least; none is chosen by what it came to."""
    return min((run_point(point) for _ in range(tries)), key=lambda real: real.foreign)


def run_point(point: Point) -> Real:
    """Start the processes, let them call, and see what they did, and how many others wanted the machine."""
    fleet, measured_s = point.fleet, point.measured_s
    with _store_of(point.store) as (url, _):
        parts = [_part(point, url, number) for number in range(fleet.processes)]
        running = [_start(part) for part in parts]
        time.sleep(parts[0].warm_s)
        foreign = _foreign(measured_s)
        seen = [json.loads(each.communicate()[0]) for each in running]
    calls = sum(each["calls"] for each in seen)
    waits = [wait for each in seen for wait in each["waits_s"]]
    return Real(
        per_s=calls / measured_s,
        failed=sum(each["failed"] for each in seen),
        wait_p50_s=statistics.median(waits) if waits else 0.0,
        call_us=sum(each["cpu_s"] for each in seen) / max(1, calls) * 1e6,
        foreign=foreign,
    )


def _part(point: Point, url: str, number: int) -> Part:
    fleet = point.fleet
    return Part(
        url=url,
        callers=fleet.callers // fleet.processes,
        seconds=fleet.seconds,
        agents=fleet.agents,
        capacity=fleet.capacity,
        rate_per_s=fleet.rate_per_s,
        down=fleet.down,
        trips_after=fleet.trips_after,
        warm_s=max(WARM_S, 2 * fleet.seconds),
        measured_s=point.measured_s,
        seed=number,
    )


def _start(part: Part) -> subprocess.Popen[str]:
    member = Path(__file__).with_name("scaling_member.py")
    command = [sys.executable, str(member), json.dumps(asdict(part))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _foreign(seconds: float) -> float:
    """How many threads of others were running or ready to, on average of so long; 0 where the system does not say.

    Started as `chrt -r 1 python …`, ours go before all of them: then nobody counts.
    """
    first = os.sched_getscheduler(0) != os.SCHED_OTHER
    samples = []
    for _ in range(SAMPLES):
        time.sleep(seconds / SAMPLES)
        try:
            running = int(Path("/proc/loadavg").read_text("utf-8").split()[3].partition("/")[0])
        except OSError:
            return 0.0
        samples.append(max(0, running - sum(_is_running(pid) for pid in _family(os.getpid()))))
    return 0.0 if first else statistics.mean(samples)


def _family(pid: int) -> set[int]:
    """A process, its children and theirs: the server, and the members of the fleet."""
    found = {pid}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text("utf-8").split():
            found |= _family(int(child))
    return found


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "R"
    except OSError:
        return False


@contextmanager
def _store_of(kind: str) -> Iterator[tuple[str, Meter]]:
    """A store of its own, and a meter of what it computes; SQLite does so within the process that asks."""
    if kind == "redis":
        with serve() as server:
            yield server.url, _server_meter(server)
    else:
        with tempfile.TemporaryDirectory(prefix="coterie-bench-") as folder:
            yield f"sqlite://{folder}/state.db", lambda: time.process_time() * 1e6


def _server_meter(server: Server) -> Meter:
    client = server.client()

    def read() -> float:
        found = client.info("cpu")
        return float(found["used_cpu_user_main_thread"] + found["used_cpu_sys_main_thread"]) * 1e6

    return read


async def _commands(kind: str, url: str, meter: Meter) -> Costs:
    turn = await _turn(url, meter, "bare")
    with_leases = await _turn(url, meter, "leases", leases=MANY)
    with_agents = await _turn(url, meter, "agents", agents=MANY)
    refused = await _refused(url, meter, "few", tickets=0)
    with_tickets = await _refused(url, meter, "tickets", tickets=MANY)
    return Costs(
        store=kind,
        call=0.0,
        turn=turn,
        per_lease=max(0.0, with_leases - turn) / MANY,
        per_agent=max(0.0, with_agents - turn) / MANY,
        per_ticket=max(0.0, with_tickets - refused) / MANY,
        limit=await _limit(url, meter),
        report=await _report(url, meter),
        way=await _way(url) if kind == "redis" else 0.0,
    )


@asynccontextmanager
async def _opened(url: str, namespace: str) -> AsyncIterator[StateStore]:
    store = open_state_store(url, namespace)
    try:
        yield store
    finally:
        await store.aclose()


async def _each(meter: Meter, one: Callable[[], Awaitable[object]], *, commands: int) -> float:
    """Microseconds of the store's CPU for one command, of which `one` sends so many."""
    await one()
    rounds = []
    for _ in range(ROUNDS):
        before = meter()
        for _ in range(COMMANDS):
            await one()
        rounds.append((meter() - before) / (COMMANDS * commands))
    # What others do on the machine only ever adds to it.
    return min(rounds)


async def _turn(url: str, meter: Meter, name: str, *, leases: int = 0, agents: int = 1) -> float:
    """A pool's command, half of them leases and half releases, beside so many leases and agents."""
    async with _opened(url, name) as store, ResourcePool("worker", store=store, policy=SELDOM) as pool:
        for number in range(agents):
            pool.register_agent(f"agent-{number}", capacity=leases + 8)

        async def pair() -> None:
            async with pool.lease():
                pass

        async with AsyncExitStack() as held:
            for _ in range(leases):
                await held.enter_async_context(pool.lease())
            return await _each(meter, pair, commands=2)


async def _refused(url: str, meter: Meter, name: str, *, tickets: int) -> float:
    """A pool's command of somebody who does not wait, beside so many who do."""
    async with (
        _opened(url, name) as store,
        ResourcePool("worker", store=store, policy=SELDOM) as pool,
        ResourcePool("worker", store=store, policy=SELDOM) as other,
    ):
        pool.register_agent("agent", capacity=1)
        async with pool.lease():
            for number in range(tickets):
                await pool.keep_place(f"ticket-{number}")

            async def ask() -> None:
                await other.keep_place("last")

            return await _each(meter, ask, commands=1)


async def _limit(url: str, meter: Meter) -> float:
    async with _opened(url, "limit") as store:
        limiter = RateLimiter("limit", Quota(rate_per_s=1e6, burst=1000), store=store)
        return await _each(meter, limiter.acquire, commands=1)


async def _report(url: str, meter: Meter) -> float:
    """What a breaker tells of one success, less what the waiting for it takes."""
    async with _opened(url, "breaker") as store:
        breaker = CircuitBreaker("breaker", BreakerPolicy(), store=store)
        await breaker.call(_nothing)
        await asyncio.sleep(0.1)
        before = meter()
        for _ in range(REPORTS):
            await breaker.call(_nothing)
            await asyncio.sleep(0.03)
        told = meter()
        await asyncio.sleep(0.03 * REPORTS)
        idle = meter() - told
        await breaker.aclose()
    return max(0.0, told - before - idle) / REPORTS


async def _nothing() -> None:
    """An agent's part."""


async def _way(url: str) -> float:
    """Half of the way to the store and back, without what it computes there."""
    async with _opened(url, "way") as store:
        took = []
        for _ in range(COMMANDS):
            began = time.perf_counter()
            await store.read("pool/nobody")
            took.append((time.perf_counter() - began) * 1e6)
    return statistics.median(took) / 2
