"""One client for each loop and process: reused, never shared, closed at the end without cutting a call."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import coterie.sync
from coterie import Orchestrator, Task, Team
from coterie.agents import HttpAgent, aclose_clients, clients
from tests.fleet.agents.conftest import context_of
from tests.support.stub_provider import Behaviour, StubProvider

REPOSITORY = Path(__file__).resolve().parents[3]


async def call(provider: StubProvider, times: int = 1) -> None:
    for _ in range(times):
        await HttpAgent(provider.url)({}, context_of({}))


def connections(provider: StubProvider) -> list[int]:
    return [seen.connection for seen in provider.requests]


async def test_calls_of_one_loop_share_a_connection(provider: StubProvider):
    await call(provider, 5)

    assert connections(provider) == [1] * 5


async def test_calls_at_the_same_time_are_bounded_by_nothing_but_the_agents(provider: StubProvider):
    provider.script(Behaviour(hold=True))

    async with asyncio.TaskGroup() as group:
        for _ in range(120):
            group.create_task(call(provider))
        await asyncio.to_thread(provider.wait_for_requests, 120)
        provider.release()

    assert len(set(connections(provider))) == 120


async def test_a_closed_client_is_replaced_by_a_new_one(provider: StubProvider):
    await call(provider)
    await aclose_clients()
    await asyncio.to_thread(provider.wait_for_disconnect)
    await call(provider)
    await aclose_clients()
    await aclose_clients()

    assert connections(provider) == [1, 2]


async def test_closing_cuts_no_call_that_runs(provider: StubProvider):
    provider.script(Behaviour(hold=True))
    running = asyncio.create_task(call(provider))
    await asyncio.to_thread(provider.wait_for_requests, 1)

    await aclose_clients()
    provider.release()

    await running
    await asyncio.to_thread(provider.wait_for_disconnect)


def test_a_loop_that_ends_closes_its_client(provider: StubProvider):
    asyncio.run(call(provider))
    provider.wait_for_disconnect()
    asyncio.run(call(provider))
    provider.wait_for_disconnect()

    assert connections(provider) == [1, 2]
    assert not clients._clients


def test_loops_in_threads_have_clients_of_their_own(provider: StubProvider):
    provider.script(Behaviour(hold=True))
    threads = [threading.Thread(target=asyncio.run, args=(call(provider),)) for _ in range(4)]

    for thread in threads:
        thread.start()
    provider.wait_for_requests(4)
    provider.release()
    for thread in threads:
        thread.join()

    assert sorted(connections(provider)) == [1, 2, 3, 4]


def test_a_client_of_a_loop_that_just_stopped_is_forgotten(provider: StubProvider):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(call(provider))
    loop.run_until_complete(aclose_clients())
    loop.run_until_complete(call(provider))
    forgotten = clients._clients[loop]
    loop.run_until_complete(forgotten.client.aclose())
    loop.close()

    asyncio.run(call(provider))

    assert loop not in clients._clients


def test_the_blocking_facade_reuses_its_connection(provider: StubProvider):
    team = Team("t")
    team.http("x", provider.url)
    orchestrator = coterie.sync.Orchestrator(Orchestrator(team))

    for _ in range(3):
        assert orchestrator.execute_task(Task("t", "x")).state == "succeeded"

    assert connections(provider) == [1, 1, 1]
    coterie.sync.run(aclose_clients())


FORKS = """
import asyncio, gc, os, sys
from coterie.agents import HttpAgent
from tests.fleet.agents.conftest import context_of

agent = HttpAgent(sys.argv[1])

async def call(who):
    task_input = {"who": who}
    await agent(task_input, context_of(task_input))

with asyncio.Runner() as runner:
    runner.run(call("parent before"))
    child = os.fork()
    if not child:
        # The child tidies up what it inherited; that must not reach the parent's connection.
        runner.get_loop().close()
        asyncio.run(call("child"))
        gc.collect()
        sys.stderr.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    runner.run(call("parent after"))
"""


def test_a_forked_child_has_a_connection_of_its_own_and_leaves_the_parents_alone(provider: StubProvider):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, provider.url],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    seen = {each.json["input"]["who"]: each.connection for each in provider.requests}
    assert seen == {"parent before": 1, "child": 2, "parent after": 1}


def test_a_run_leaves_no_warning_behind(provider: StubProvider):
    program = """
import asyncio, sys
from coterie import Orchestrator, Task, Team
team = Team("t")
team.http("x", sys.argv[1])
result = asyncio.run(Orchestrator(team).execute_task(Task("t", "x")))
assert result.state == "succeeded", result.error
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, provider.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
