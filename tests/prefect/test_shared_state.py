"""Flows in different processes share breakers and pools through a real Valkey."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.flows import load_flow_from_entrypoint

from coterie.errors import BreakerOpen
from prefect_coterie import CoterieCircuitBreaker, CoterieResourcePool, CoterieStore, arun_agent, run_plan
from tests.prefect.protected import TEAM, appears, crowd, marks, most_at_once
from tests.prefect.runs import eventually
from tests.support.redis_servers import SYNCED, Server, valkey
from tests.support.stub_provider import Behaviour, StubProvider, serving

pytestmark = pytest.mark.prefect

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    with valkey(user="flows", password="p@ss/word", arguments=SYNCED) as server:
        with server.client() as admin:
            # So that the journal can see that what it is told is on disk.
            admin.execute_command("ACL", "SETUSER", "flows", "+config|get")
        yield server


@pytest.fixture
def store(redis: Server, tmp_path: Path) -> CoterieStore:
    """A namespace of the test's own."""
    return CoterieStore(
        url=f"redis://127.0.0.1:{redis.port}/0",
        namespace=tmp_path.name.replace("_", "-"),
        username="flows",
        password="p@ss/word",
    )


@asynccontextmanager
async def program(*arguments: str, store: CoterieStore, **variables: str) -> AsyncIterator[Process]:
    """A Python program with this state store, ended with the block."""
    environment = {**os.environ, **variables, "COTERIE_NAMESPACE": store.namespace}
    environment["COTERIE_STORE"] = store.url.replace("redis://", "redis://flows:p%40ss%2Fword@")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=REPOSITORY, env=environment)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def pool_of(store: CoterieStore) -> CoterieResourcePool:
    return CoterieResourcePool(agent_type="worker", store=store)


async def test_two_processes_never_use_more_slots_than_there_are(store: CoterieStore, tmp_path: Path):
    @flow
    async def crowded() -> str:
        result = await run_plan(
            crowd, team=TEAM, artifacts=f"file://{tmp_path}/here", store=store, params={"folder": str(tmp_path)}
        )
        return result.status

    async with program("-m", "tests.prefect.protected", "crowd", str(tmp_path), store=store) as other:
        await appears(tmp_path / "log")
        here = asyncio.create_task(crowded())
        # Both slots are taken, and the flows wait for them.
        await eventually(pool_of(store).aget_pool_status, lambda status: status.waiting.get("worker", 0) >= 2)
        (tmp_path / "go").touch()
        assert await here == "succeeded"
        assert await other.wait() == 0

    entered = [pid for word, pid in marks(tmp_path) if word == "enter"]
    status = await pool_of(store).aget_pool_status()
    assert (tmp_path / "status-crowd").read_text() == "succeeded"
    assert sorted(entered.count(pid) for pid in set(entered)) == [5, 5]
    assert most_at_once(tmp_path) == 2
    assert (status.in_use, dict(status.waiting)) == (0, {})


async def test_a_breaker_opened_by_one_process_refuses_the_calls_of_another(store: CoterieStore, tmp_path: Path):
    (tmp_path / "broken").touch()

    @flow
    async def failing() -> Any:
        return await arun_agent(
            "slow",
            {"folder": str(tmp_path)},
            team=TEAM,
            artifacts=f"file://{tmp_path}/here",
            store=store,
            return_state=True,
        )

    await failing(return_state=True)
    (tmp_path / "broken").unlink()
    async with program("-m", "tests.prefect.protected", "refused", str(tmp_path), store=store) as other:
        assert await other.wait() == 0

    state = await CoterieCircuitBreaker(name="slow", store=store).aget_state()
    assert state.state == "open"
    assert "BreakerOpen" in (tmp_path / "status-refused").read_text()
    assert marks(tmp_path) == [("called", os.getpid())]


async def test_blocks_share_a_breaker_too(store: CoterieStore):
    mine = CoterieCircuitBreaker(name="mine", store=store, failure_threshold=1)

    with pytest.raises(OSError, match="away"):
        async with mine.guard():
            raise OSError("away")

    with pytest.raises(BreakerOpen):
        async with mine.model_copy().guard():
            raise AssertionError("called")
    await mine.areset()
    async with mine.guard():
        assert (await mine.aget_state()).state == "closed"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubProvider]:
    """The example team's provider: it is read when the team is imported."""
    with serving() as provider:
        monkeypatch.setenv("COTERIE_PROVIDER_URL", f"{provider.url}/agent")
        importlib.reload(importlib.import_module("coterie.teams.fleet"))
        yield provider


async def test_the_example_of_a_breaker_spares_a_provider_that_fails(
    provider: StubProvider,
    store: CoterieStore,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("COTERIE_ARTIFACTS", store_url)
    monkeypatch.setenv("COTERIE_STORE", store.url)
    monkeypatch.setenv("COTERIE_NAMESPACE", store.namespace)
    example = load_flow_from_entrypoint(
        f"{REPOSITORY}/flows/shared_breaker.py:shared_breaker", use_placeholder_flow=False
    )

    async def asked() -> int:
        before = len(provider.requests)
        assert (await example(return_state=True)).is_completed()
        return len(provider.requests) - before

    healthy = await asked()
    provider.script(Behaviour(status=503))
    failing, open_ = await asked(), await asked()

    assert (healthy, failing, open_) == (2, 3, 0)


async def test_the_example_of_a_pool_runs_as_a_program(store: CoterieStore, tmp_path: Path):
    artifacts = f"file://{tmp_path}/artifacts"
    async with program("flows/agent_pool.py", store=store, COTERIE_ARTIFACTS=artifacts) as example:
        assert await example.wait() == 0

    assert len((await pool_of(store).aget_pool_status()).agents) == 2
