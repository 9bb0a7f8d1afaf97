"""`coterie worker` and `coterie workers`: what people type, what they are told, and with which exit code it ends."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess, Popen

import pytest

from coterie import Task
from coterie.remote import RemoteCalls, WorkerStatus, list_workers
from coterie.stores.opening import open_log_store, open_state_store
from tests.fleet.remote.fleet import call_of
from tests.support.command_line import coterie, folder, start
from tests.support.redis_servers import wait_until

__all__ = ["coterie", "folder", "start"]

TEAM = """
from coterie import Team

team = Team("t")

@team.agent("adder", capacity=2)
async def add(task_input):
    return task_input["a"] + 1

callers = Team("c")
callers.remote("adder")
"""

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def url(folder: Path) -> str:
    (folder / "mine.py").write_text(TEAM)
    return f"sqlite://{folder}/state.db"


async def ask(url: str, count: int) -> list[str]:
    store, log = open_state_store(url, "default"), open_log_store(url, "default")
    calls = [call_of(Task(f"t{n}", "adder", input={"a": n})) for n in range(count)]
    for call in calls:
        await RemoteCalls(store, log).submit(call)
    await log.aclose()
    await store.aclose()
    return [call.id for call in calls]


async def phases(url: str, calls: list[str]) -> set[str]:
    store, log = open_state_store(url, "default"), open_log_store(url, "default")
    found = [await RemoteCalls(store, log).look(call) for call in calls]
    await log.aclose()
    await store.aclose()
    return {status.phase for status in found if status is not None}


async def registered(url: str) -> list[WorkerStatus]:
    store = open_state_store(url, "default")
    found = await list_workers(store)
    await store.aclose()
    return found


def test_once_works_off_what_waits_and_ends_well(coterie: Run, url: str):
    calls = asyncio.run(ask(url, 3))

    ended = coterie("worker", "--team", "mine:team", "--store", url, "--once", "--id", "w")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert "worker w: adder; at most 2 at a time" in ended.stderr
    assert ended.stderr.count("task.finished") == 3
    assert asyncio.run(phases(url, calls)) == {"done"}


def test_it_leaves_in_order_on_sigterm_and_is_listed_until_then(
    start: Callable[..., Popen[str]], coterie: Run, url: str
):
    with start("worker", "--team", "mine:team", "--store", url, "--id", "w", "--types", "adder") as worker:
        wait_until(lambda: any(each.id == "w" for each in asyncio.run(registered(url))), "it is registered")
        table = coterie("workers", "--store", url)
        listed = json.loads(coterie("workers", "--store", url, "--json").stdout)["workers"]
        worker.send_signal(signal.SIGTERM)
        _, stderr = worker.communicate(timeout=60)

    assert table.stdout.splitlines()[1].split()[:4] == ["w", "alive", "adder", "0/2"]
    assert [(each["id"], each["state"], each["capacity"]) for each in listed] == [("w", "alive", 2)]
    assert worker.returncode == 0
    assert "none is at work" in stderr
    assert "worker w: it has left" in stderr
    assert "no worker is there" in coterie("workers", "--store", url).stdout


def test_it_says_what_it_gives_back_and_with_quiet_only_what_is_wrong(
    start: Callable[..., Popen[str]], folder: Path, url: str
):
    sleeper = "import asyncio\n\n@team.agent('adder')\nasync def sleep(_):\n    await asyncio.sleep(600)\n"
    (folder / "slow.py").write_text(f"from coterie import Team\n\nteam = Team('t')\n{sleeper}")
    calls = asyncio.run(ask(url, 1))
    told = []

    for more in ([], ["--quiet"]):
        words = ["--team", "slow:team", "--store", url, "--graceful-shutdown-timeout", "0.1", *more]
        with start("worker", *words) as worker:
            wait_until(lambda: asyncio.run(phases(url, calls)) == {"running"}, "it is at work")
            worker.send_signal(signal.SIGTERM)
            told.append(worker.communicate(timeout=60)[1])
        assert (worker.returncode, asyncio.run(phases(url, calls))) == (0, {"queued"})

    loud, quiet = told
    assert "1 task at work may finish within 0.1 s" in loud
    assert "1 task not finished within 0.1 s: given back" in loud
    assert quiet == ""


FRAIL = """
from coterie import BreakerPolicy, Policies, Retry, Team

team = Team("t")
breaker = BreakerPolicy(failure_threshold=1, timeout_s=600.0)
team.protect("adder", Policies(breaker=breaker, max_wait_s=1200.0))

@team.agent("adder", retry=Retry(max_attempts=2, base_s=0.01))
async def add(task_input):
    raise ConnectionError("503: the model is overloaded")
"""


def test_while_a_breaker_is_open_its_console_and_the_lists_name_the_error(
    start: Callable[..., Popen[str]], coterie: Run, folder: Path, url: str
):
    (folder / "frail.py").write_text(FRAIL)
    asyncio.run(ask(url, 1))

    with start("worker", "--team", "frail:team", "--store", url, "--id", "w", "--quiet") as worker:
        wait_until(lambda: "503" in coterie("breakers", "--store", url).stdout, "the error is kept")
        listed = coterie("breakers", "--store", url)
        frame = coterie("top", "--store", url, "--once")
        worker.send_signal(signal.SIGTERM)
        _, stderr = worker.communicate(timeout=60)

    error = "ConnectionError: 503: the model is overloaded"
    assert f"adder: opened after {error}" in listed.stdout
    assert error in frame.stdout
    (retrying,) = [line for line in stderr.splitlines() if line.startswith("task.retrying")]
    assert "ConnectionError('503: the model is overloaded')" in retrying
    (opened,) = [line for line in stderr.splitlines() if line.startswith("breaker.opened")]
    assert opened.endswith(f", after {error}")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--team", "absent:team"), "absent"),
        (("--team", "mine:team", "--types", "adder,nobody"), "nobody"),
        (("--team", "mine:callers"), "no agents that could work here"),
        (("--team", "mine:team", "--health", "8080"), "HOST:PORT"),
        (("--team", "mine:team", "--id", "a/b"), "the worker's id"),
        (("--team", "mine:team", "--store", "memory://"), "--store"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_begins(coterie: Run, url: str, arguments: tuple[str, ...], told: str):
    given = arguments if "--store" in arguments else (*arguments, "--store", url)

    ended = coterie("worker", *given)

    assert ended.returncode == 2
    assert told in ended.stderr
    assert ended.stderr.count("error:") == 1


def test_an_id_that_is_taken_is_misuse(start: Callable[..., Popen[str]], coterie: Run, url: str):
    with start("worker", "--team", "mine:team", "--store", url, "--id", "w", "--quiet") as worker:
        wait_until(lambda: bool(asyncio.run(registered(url))), "it is registered")

        ended = coterie("worker", "--team", "mine:team", "--store", url, "--id", "w")

        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=60)
    assert ended.returncode == 2
    assert "--id" in ended.stderr
    assert "at a time" not in ended.stderr
