"""What workers gave back for a breaker's sake is taken up as soon as the breaker lets calls pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coterie import Policies, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie.cli.fleet.breaker_acts import turn_breaker
from coterie.cli.fleet.reach import Reach
from coterie.remote import Call, Worker
from coterie.runtime import Runtime
from tests.fleet.remote.fleet import eventually, until
from tests.fleet.remote.held import held_call
from tests.support.redis_servers import valkey

# Longer than any of these tests may last: what does not wait for the breaker's own time is freed by hand.
LONG_S = 600.0
WAIT_S = 20.0
CALLS = 6


@pytest.fixture(params=["valkey", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a store that processes share."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state.db"
    else:
        with valkey() as server:
            yield server.url


class Frail:
    """An agent that fails until it is mended."""

    def __init__(self, *, pooled: bool = False, timeout_s: float = LONG_S) -> None:
        self.is_well = False
        self.at_work = 0
        self.release = asyncio.Event()
        policy = BreakerPolicy(
            failure_threshold=1,
            timeout_s=timeout_s,
            half_open_max_calls=1,
            success_threshold=1,
            probe_timeout_s=LONG_S,
            round_timeout_s=LONG_S,
        )
        self.team = Team("frail")
        pool = PoolPolicy() if pooled else None
        self.team.protect("frail", Policies(breaker=policy, pool=pool, max_wait_s=2 * LONG_S))
        self.team.agent("frail", capacity=2)(self.perform)

    async def perform(self, _: dict[str, Any]) -> str:
        if not self.is_well:
            raise ConnectionError("down")
        self.at_work += 1
        await self.release.wait()
        return "done"


@asynccontextmanager
async def two_workers(frail: Frail, url: str) -> AsyncIterator[Runtime]:
    """Two processes' workers, as far as one process can have two; the first one's runtime."""
    async with AsyncExitStack() as stack:
        runtimes = [await stack.enter_async_context(Runtime(frail.team, store=url)) for _ in range(2)]
        found = [Worker(runtime) for runtime in runtimes]
        work = [asyncio.create_task(worker.run()) for worker in found]
        try:
            await until(lambda: all(worker.status()["ready"] for worker in found))
            yield runtimes[0]
        finally:
            for worker in found:
                worker.stop()
            await asyncio.wait_for(asyncio.gather(*work), WAIT_S)


async def all_refused(runtime: Runtime, calls: list[Call]) -> None:
    """The first fails, and opens the breaker; the others are taken, refused, and given back."""
    await runtime.remote.submit(calls[0], owner="me")
    assert (await asyncio.wait_for(runtime.remote.wait(calls[0].id), WAIT_S)).state == "failed"
    for call in calls[1:]:
        await runtime.remote.submit(call, owner="me")

    async def are_back() -> bool:
        (group,) = await runtime.remote.log.groups("tasks/frail")
        found = [await runtime.remote.look(call.id) for call in calls[1:]]
        return group.held == 0 and all(each.phase == "queued" and each.attempt >= 1 for each in found)

    await eventually(are_back)


async def states(runtime: Runtime, calls: list[Call]) -> set[str]:
    async with asyncio.timeout(WAIT_S):
        return {end.state for end in await asyncio.gather(*(runtime.remote.wait(call.id) for call in calls))}


@pytest.mark.parametrize("pooled", [False, True], ids=["of each process", "of the fleet"])
async def test_calls_given_back_are_performed_at_once_when_the_breaker_is_reset(url: str, pooled: bool):
    frail = Frail(pooled=pooled)
    calls = [held_call(f"t{number}", "frail") for number in range(CALLS)]
    async with two_workers(frail, url) as runtime:
        await all_refused(runtime, calls)
        frail.is_well = True
        frail.release.set()

        await asyncio.to_thread(turn_breaker, Reach(url, "default", None), "frail", "reset", new=False, as_json=True)

        assert await states(runtime, calls[1:]) == {"succeeded"}


async def test_calls_refused_during_a_trial_are_performed_at_once_when_it_ends_well(url: str):
    """One call is on trial; the others are refused for as long as that may take, and follow its success."""
    frail = Frail(timeout_s=3.0)
    calls = [held_call(f"t{number}", "frail") for number in range(CALLS)]
    async with two_workers(frail, url) as runtime:
        await all_refused(runtime, calls)
        frail.is_well = True
        await until(lambda: frail.at_work == 1)

        async def others_are_back() -> bool:
            (group,) = await runtime.remote.log.groups("tasks/frail")
            return group.held == 1

        await asyncio.sleep(0.5)
        await eventually(others_are_back)
        frail.release.set()

        assert await states(runtime, calls[1:]) == {"succeeded"}
