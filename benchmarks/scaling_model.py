"""A fleet as a discrete-event simulation: callers, processes, pools, a rate limit, breakers, and the store behind them.

What takes time is what was measured (`Costs`): computing in each process, and in the store, which does one command
after the other. A pool's command reads and writes the pool's whole state, so it takes longer the more leases, agents
and tickets there are.
"""

from __future__ import annotations

__all__ = ["Costs", "Fleet", "Outcome", "simulate"]

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from scaling_loop import Go, Host, Loop, Station, Wait

REPORT_S = 0.02
# How often a process tells a pool that it is there: where its callers wait, and else.
BEAT_S = 1.0
HEARTBEAT_S = 10.0
HOLD_S = 1.0
OPEN_S = 60.0
PROBES = 3


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of CPU. call: of a process, for one call from asking to its end; shared by its three parts.

    turn: a pool's command with nothing in its state; with each lease, agent and ticket `per_…` more. limit: one
    reservation. report: one of a breaker. way: from a process to the store or back.
    """

    store: str
    call: float
    turn: float
    per_lease: float
    per_agent: float
    per_ticket: float
    limit: float
    report: float
    way: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is simulated: one agent type. callers: all of them, spread over the processes; each calls again and again.

    seconds: of a call, on average; each takes from half to one and a half of it. rate_per_s: of the limit; 0: none.
    down: so many of the agents fail every call at once. pools: the slots are split among so many agent types.
    cores: of the one machine that processes and store share, with `foreign` threads of others; 0: each has its own.
    """

    callers: int
    processes: int
    seconds: float
    agents: int = 1
    capacity: int = 1
    rate_per_s: float = 0.0
    down: int = 0
    trips_after: int = 5
    pools: int = 1
    cores: int = 0
    foreign: float = 0.0


@dataclass(slots=True)
class Outcome:
    """Within the measured time. store, process: the share of it in which the store, the mean process, computed."""

    per_s: float = 0.0
    failed: int = 0
    store: float = 0.0
    process: float = 0.0
    in_flight: float = 0.0
    waits_s: list[float] = field(default_factory=list)

    def wait(self, share: float) -> float:
        """Seconds from asking until the agent begins, that this share of the calls did not exceed."""
        ordered = sorted(self.waits_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Pool:
    """Slots of one agent type, and who waits for them, in order of arrival. Agents that are down open a breaker."""

    def __init__(self, loop: Loop, fleet: Fleet, costs: Costs) -> None:
        self._loop, self._fleet, self._costs = loop, fleet, costs
        self._agents = max(1, fleet.agents // fleet.pools)
        self._down = fleet.down // fleet.pools
        # One slot of each agent, then the next of each: the least loaded is first.
        self._free = deque(list(range(self._agents)) * fleet.capacity)
        self._waiting: deque[tuple[int, Callable[[int], None]]] = deque()
        self.waiting_at = [0] * fleet.processes
        self._failures = dict.fromkeys(range(self._down), 0)
        self._shown = fleet.processes * (self._agents * fleet.capacity + 1)
        self.leases = 0

    def command_us(self) -> float:
        """What one command takes the store now."""
        costs, tickets = self._costs, min(len(self._waiting), self._shown)
        return costs.turn + costs.per_lease * self.leases + costs.per_agent * self._agents + costs.per_ticket * tickets

    def ask(self, at: int, granted: Callable[[int], None]) -> None:
        """Have a slot of an agent, now or when it is one's turn. at: the process that asks."""
        self._waiting.append((at, granted))
        self.waiting_at[at] += 1
        self._serve()

    def give_back(self, agent: int) -> None:
        """And hand it to the first who waits."""
        self.leases -= 1
        if agent >= self._down or self._failures[agent] < self._fleet.trips_after:
            self._free.append(agent)
        self._serve()

    def fails(self, agent: int) -> bool:
        """Whether a call of it fails; the one that trips its breaker takes its slots away for the open period."""
        if agent >= self._down:
            return False
        self._failures[agent] += 1
        if self._failures[agent] == self._fleet.trips_after:
            self._free = deque(one for one in self._free if one != agent)
            self._loop.after(OPEN_S, lambda: self._probe(agent))
        return True

    def _probe(self, agent: int) -> None:
        # The first failure of a trial opens it again.
        self._failures[agent] = self._fleet.trips_after - 1
        self._free.extend([agent] * min(PROBES, self._fleet.capacity))
        self._serve()

    def _serve(self) -> None:
        while self._free and self._waiting:
            self.leases += 1
            at, granted = self._waiting.popleft()
            self.waiting_at[at] -= 1
            granted(self._free.popleft())


class Limit:
    """A rate limit: whoever comes is told when to go. 0 a second: none."""

    def __init__(self, loop: Loop, rate_per_s: float) -> None:
        self._loop, self._rate = loop, rate_per_s
        self._burst_s = max(1, round(rate_per_s / 10)) / rate_per_s if rate_per_s else 0.0
        self._full_at = 0.0

    def reserve(self) -> float:
        """Seconds until the turn; beyond `HOLD_S` nothing was reserved."""
        if not self._rate:
            return 0.0
        full_at = max(self._full_at, self._loop.now) + 1 / self._rate
        wait_s = max(0.0, full_at - self._burst_s - self._loop.now)
        if wait_s <= HOLD_S:
            self._full_at = full_at
        return wait_s


class _Run:
    """One simulation."""

    def __init__(self, fleet: Fleet, costs: Costs, *, seed: int, warm_s: float) -> None:
        self.fleet, self.costs, self.warm_s = fleet, costs, warm_s
        self.chance = random.Random(seed)
        self.loop = Loop()
        host = Host(self.loop, fleet.cores, fleet.foreign) if fleet.cores else None
        self.store = Station(self.loop, host)
        self.processes = [Station(self.loop, host) for _ in range(fleet.processes)]
        self.pools = [Pool(self.loop, fleet, costs) for _ in range(fleet.pools)]
        self.limit = Limit(self.loop, fleet.rate_per_s)
        self.reporting: set[tuple[int, int, int]] = set()
        self.seen = Outcome()
        self.calls = 0
        self.held_s = 0.0

    @property
    def counts(self) -> bool:
        """Whether it is warm."""
        return self.loop.now >= self.warm_s

    def caller(self, number: int) -> Iterator[Wait]:
        """Call again and again."""
        loop, costs = self.loop, self.costs
        # Every pool has as many callers as the others, and every process, as far as it comes out even.
        which = number % len(self.pools)
        at = (number // len(self.pools)) % len(self.processes)
        process, pool = self.processes[at], self.pools[which]
        yield loop.sleep(self.chance.random() * self.fleet.seconds)
        while True:
            asked_s, agent = loop.now, [0]
            while True:
                yield process.work(costs.call / 3)
                yield self._command(pool.command_us)
                yield _granted(pool, at, agent)
                yield loop.sleep(costs.way / 1e6)
                yield process.work(costs.call / 3)
                if not self.fleet.rate_per_s:
                    break
                yield self._command(costs.limit)
                wait_s = self.limit.reserve()
                yield loop.sleep(costs.way / 1e6 + min(wait_s, HOLD_S) * (wait_s <= HOLD_S))
                if wait_s <= HOLD_S:
                    break
                yield self._command(pool.command_us)
                pool.give_back(agent[0])
                yield loop.sleep(wait_s - HOLD_S)
            begun_s = loop.now
            if self.counts:
                self.seen.waits_s.append(begun_s - asked_s)
            failed = pool.fails(agent[0])
            if not failed:
                yield loop.sleep(self.fleet.seconds * self.chance.uniform(0.5, 1.5))
            if self.counts:
                self.seen.failed += failed
                self.calls += not failed
                self.held_s += loop.now - begun_s
            self._report(at, which, agent[0])
            yield process.work(costs.call / 3)
            yield self._command(pool.command_us)
            pool.give_back(agent[0])
            yield loop.sleep(costs.way / 1e6)

    def beats(self, at: int, pool: Pool) -> Iterator[Wait]:
        """A process tells a pool that it is there."""
        yield self.loop.sleep(self.chance.random() * HEARTBEAT_S)
        while True:
            yield self._command(pool.command_us)
            told_s = self.loop.now
            while self.loop.now < told_s + HEARTBEAT_S - BEAT_S / 2:
                yield self.loop.sleep(BEAT_S)
                if pool.waiting_at[at]:
                    break

    def _command(self, cost_us: Callable[[], float] | float) -> Wait:
        work = self.store.work(cost_us)
        return lambda go: self.loop.after(self.costs.way / 1e6, lambda: work(go))

    def _report(self, *who: int) -> None:
        """What went well is told in company: once in `REPORT_S` for each process and agent."""
        key = (who[0], who[1], who[2])
        if key in self.reporting:
            return
        self.reporting.add(key)

        def tell() -> None:
            self.reporting.discard(key)
            self.store.work(self.costs.report)(_nothing)

        self.loop.after(REPORT_S, tell)


def simulate(fleet: Fleet, costs: Costs, *, measured_s: float = 0.0, seed: int = 1) -> Outcome:
    """What the fleet comes to. measured_s: of simulated time, once warm; by default eight calls of each, and 400."""
    warm_s = max(3.0, 3 * fleet.seconds)
    measured_s = measured_s or fleet.seconds * max(8.0, 400 / fleet.callers)
    run = _Run(fleet, costs, seed=seed, warm_s=warm_s)
    for number in range(fleet.callers):
        run.loop.start(run.caller(number))
    for at in range(fleet.processes):
        for pool in run.pools:
            run.loop.start(run.beats(at, pool))
    run.loop.run(warm_s)
    before = run.store.busy_s, sum(one.busy_s for one in run.processes)
    run.loop.run(warm_s + measured_s)
    run.seen.per_s = run.calls / measured_s
    run.seen.store = (run.store.busy_s - before[0]) / measured_s
    run.seen.process = (sum(one.busy_s for one in run.processes) - before[1]) / measured_s / fleet.processes
    run.seen.in_flight = run.held_s / measured_s
    return run.seen


def _granted(pool: Pool, at: int, agent: list[int]) -> Wait:
    def wait(go: Go) -> None:
        def granted(one: int) -> None:
            agent[0] = one
            go()

        pool.ask(at, granted)

    return wait


def _nothing() -> None:
    """For who waits for nothing."""
