"""Several processes lease the same slots while some are killed; a log apart from the store tells what happened."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from coterie.pool import ResourcePool
from coterie.ports import StateStore
from coterie.stores.opening import open_state_store
from tests.fleet.pool import fire
from tests.support.redis_servers import valkey

PATIENCE_S = 60.0


@pytest.fixture(params=["sqlite", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/state.db"
        return
    with valkey() as server:
        yield server.url


class Fleet:
    """Processes that are started, killed and replaced."""

    def __init__(self, url: str, log: Path, target: int, seed: int) -> None:
        self.log = fire.open_log(str(log))
        self._command = [sys.executable, "-m", "tests.fleet.pool.fire", url, str(log), str(target)]
        self._chance = random.Random(seed)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        command = [*self._command, str(self._chance.randrange(2**31))]
        self.processes.append(subprocess.Popen(command, stderr=subprocess.PIPE))

    def kill_one(self) -> None:
        victim = self._chance.choice(self.processes)
        self.processes.remove(victim)
        victim.kill()
        victim.communicate()
        # From here on it holds nothing, whatever the store still believes.
        fire.append(self.log, "dead", "", 0, victim.pid)

    def finished(self) -> bool:
        for process in self.processes:
            code = process.poll()
            assert code in (None, 0), process.communicate()[1].decode()
        return all(process.poll() == 0 for process in self.processes)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        self.log.close()


def check_log(log: list[tuple[str, str, int, int]]) -> Counter[str]:
    """Replay the log: at no instant may the living hold more slots than there are."""
    lost = {token for what, _, token, _ in log if what == "lost"}
    holding: dict[int, tuple[str, int]] = {}
    seen: set[int] = set()
    for what, agent, token, pid in log:
        if what == "dead":
            holding = {held: owner for held, owner in holding.items() if owner[1] != pid}
        elif what == "in":
            assert token not in seen, f"the token {token} was granted twice"
            seen.add(token)
            if token not in lost:
                holding[token] = (agent, pid)
        else:
            holding.pop(token, None)
        taken = Counter(name for name, _ in holding.values())
        assert all(taken[name] <= capacity for name, capacity in fire.CAPACITY.items()), (what, agent, token, taken)
    assert not holding
    return Counter(what for what, *_ in log)


async def burn(url: str, tmp_path: Path, *, processes: int, target: int, kills: int, seed: int) -> Counter[str]:
    fleet, store = Fleet(url, tmp_path / "log.db", target, seed), open_state_store(url, "fire")
    try:
        for _ in range(processes):
            fleet.start()
        pending = [target * (number + 1) // (kills + 1) for number in range(kills)]
        while not fleet.finished():
            await check_state(store)
            if pending and fire.count(fleet.log, "out") >= pending[0]:
                pending.pop(0)
                fleet.kill_one()
                fleet.start()
            await asyncio.sleep(0.01)
        assert not pending
        await check_all_comes_back(store)
        return check_log(fleet.log.execute("SELECT what, agent, token, pid FROM log ORDER BY id").fetchall())
    finally:
        fleet.close()
        await store.aclose()


async def check_state(store: StateStore) -> None:
    state, _ = await store.read("pool/linter")
    leases: dict[str, dict[str, str]] = state["leases"] if state else {}  # type: ignore[assignment]
    taken = Counter(lease["a"] for lease in leases.values())
    assert all(taken[name] <= capacity for name, capacity in fire.CAPACITY.items())


async def check_all_comes_back(store: StateStore) -> None:
    """What was killed while it held or awaited something is free once its time is over, without anybody's help."""
    async with ResourcePool("linter", store=store, policy=fire.POLICY) as pool, asyncio.timeout(PATIENCE_S):
        while True:
            status = await pool.refresh()
            if not status.in_use and not status.waiting:
                return
            await asyncio.sleep(0.1)


async def test_capacity_holds_while_processes_are_killed(url: str, tmp_path: Path):
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201

    happened = await burn(url, tmp_path, processes=3, target=200, kills=1, seed=seed)

    assert happened["out"] >= 200
    assert happened["dead"] == 1


@pytest.mark.full
async def test_capacity_holds_over_ten_thousand_leases_of_eight_processes(url: str, tmp_path: Path):
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201

    happened = await burn(url, tmp_path, processes=8, target=10_000, kills=12, seed=seed)

    assert happened["out"] >= 10_000
    assert happened["dead"] == 12
