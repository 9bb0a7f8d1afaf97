"""Several processes share a limiter, or a budget, on one machine and through a server; some of them are killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from coterie.budget import Budget
from coterie.stores.opening import open_state_store
from tests.support.redis_servers import valkey

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 120.0


@pytest.fixture(scope="module", params=["sqlite", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path_factory.mktemp('fleet')}/state.db"
    else:
        with valkey() as server:
            yield server.url


class Fleet:
    """Workers and their files; ends them all when it is left."""

    def __init__(self, folder: Path, settings: dict[str, Any], processes: int, seed: int) -> None:
        self.outs = [folder / f"worker-{number}" for number in range(processes)]
        self.workers = []
        for number, out in enumerate(self.outs):
            given = json.dumps({**settings, "seed": seed + number, "out": str(out)})
            command = [sys.executable, "-m", "tests.fleet.limits.fleet_worker", given]
            self.workers.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()

    def lines(self) -> list[list[int]]:
        """All that was written, in numbers; a line that a kill cut short does not count."""
        texts = [out.read_text() if out.exists() else "" for out in self.outs]
        return [[int(part) for part in line.split()] for text in texts for line in text.split("\n")[:-1]]

    def kill_after(self, count: int, victims: int) -> None:
        """SIGKILL the first workers once that many lines are there."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.lines()) < count:
            assert time.monotonic() < deadline, "the workers do nothing"
            time.sleep(0.002)
        for worker in self.workers[:victims]:
            worker.kill()

    def join(self) -> None:
        for number, worker in enumerate(self.workers):
            worker.wait(PATIENCE_S)
            if worker.returncode != -9:
                assert worker.returncode == 0, f"worker {number} ended with {worker.returncode}"


def most_within(log: list[list[int]], window_us: int) -> int:
    """The most units in any window, both of its ends included."""
    log = sorted(log)
    start, within, most = 0, 0, 0
    for at, cost in log:
        within += cost
        while log[start][0] < at - window_us:
            within -= log[start][1]
            start += 1
        most = max(most, within)
    return most


def run_limiter(folder: Path, url: str, *, kill: bool = False, processes: int = 4, **settings: Any) -> list[list[int]]:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    with Fleet(folder, {"url": url, "name": f"api-{seed}", "work": "limit", **settings}, processes, seed) as fleet:
        if kill:
            fleet.kill_after(60, 2)
        fleet.join()
        return fleet.lines()


def used(log: list[list[int]], limit: int, burst: int, window_s: float) -> float:
    """The share of the rate that was used between the first admission and the last."""
    span_s = (max(at for at, _ in log) - min(at for at, _ in log)) / 1e6
    return (sum(cost for _, cost in log) - burst) / (span_s * (limit - burst) / window_s)


def test_four_processes_never_exceed_a_window_and_waste_none_of_it(tmp_path: Path, url: str):
    log = run_limiter(
        tmp_path, url, limit=100, burst=5, window_s=10, times=100, tasks=8, waits=False, cancelled=0
    )  # fmt: skip

    assert len(log) == 400
    assert most_within(log, 10_000_000) <= 100
    assert used(log, 100, 5, 10) >= 0.95


def test_kills_and_cancellations_admit_nobody_more(tmp_path: Path, url: str):
    log = run_limiter(
        tmp_path, url, kill=True, limit=1000, burst=50, window_s=10, times=100, tasks=8, waits=False, cancelled=0.3
    )  # fmt: skip

    assert len(log) >= 60
    assert most_within(log, 10_000_000) <= 1000


@pytest.mark.full
def test_eight_processes_that_wait_for_their_turn_use_the_rate_in_full(tmp_path: Path, url: str):
    log = run_limiter(
        tmp_path, url, processes=8, limit=2100, burst=20, window_s=10, times=60, tasks=16, waits=True, cancelled=0
    )  # fmt: skip

    assert most_within(log, 10_000_000) <= 2100
    assert used(log, 2100, 20, 10) >= 0.95


def spend_all(folder: Path, url: str, *, limit: int, processes: int, victims: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    name = f"fleet-{seed}"
    settings = {"url": url, "work": "spend", "limit": limit, "tasks": 64 // processes}
    with Fleet(folder, {**settings, "name": name}, processes, seed) as fleet:
        fleet.kill_after(limit // 100, victims)
        fleet.join()
        spent = sum(amount for (amount,) in fleet.lines())

    async def charged() -> int:
        store = open_state_store(url, "fleet")
        budget = Budget(name, limit, store=store)
        try:
            status = await budget.status()
            return status.spent + status.held
        finally:
            await store.aclose()

    booked = asyncio.run(charged())
    assert spent <= booked <= limit
    # They ended because it was used up: nobody could hold 50 more.
    assert booked > limit - 50


def test_sixty_four_callers_in_four_processes_with_kills_never_spend_one_unit_too_much(tmp_path: Path, url: str):
    spend_all(tmp_path, url, limit=5_000, processes=4, victims=2)


@pytest.mark.full
@pytest.mark.parametrize("run", range(5))
def test_many_callers_with_kills_never_spend_one_unit_too_much(tmp_path: Path, url: str, run: int):
    spend_all(tmp_path, url, limit=50_000, processes=8, victims=5)
