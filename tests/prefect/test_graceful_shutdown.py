"""SIGTERM to a flow run's process: what is at work may finish and is recorded, the rest is free at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelling

from coterie import Orchestrator
from coterie.journal import Journal
from coterie.journal.view import RunView, view_run
from coterie.stores.opening import open_journal_store
from prefect_coterie import shutdown
from tests.prefect.deployments import started
from tests.prefect.runs import eventually, flow_run
from tests.prefect.stopping import FOLDER, RUN_ID

pytestmark = pytest.mark.prefect

REPOSITORY = Path(__file__).resolve().parents[2]
BEGUN = b"shutdown.begun"
STARTS_S = 120


@asynccontextmanager
async def process(
    folder: Path, how: str, flow: str, *, timeout_s: float = 600
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The flow's process, which ends with the block at the latest."""
    environment = {
        **os.environ,
        FOLDER: str(folder),
        "COTERIE_STORE": f"sqlite://{folder}/state.db",
        "COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S": str(timeout_s),
    }
    command = [sys.executable, "-m", "tests.prefect.stopping", how, flow]
    running = await asyncio.create_subprocess_exec(
        *command, cwd=REPOSITORY, env=environment, stderr=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            os.killpg(running.pid, signal.SIGKILL)
        await running.communicate()


async def called(folder: Path, *words: str) -> None:
    path = folder / "calls"
    # A process that starts on a busy machine takes its time.
    async with asyncio.timeout(STARTS_S):
        while (path.read_text().split() if path.exists() else []) != list(words):  # noqa: ASYNC110  # another process's
            await asyncio.sleep(0.05)


async def heard(running: asyncio.subprocess.Process) -> None:
    """Until it says that it heard the signal."""
    assert running.stderr is not None
    async with asyncio.timeout(30):
        while BEGUN not in (line := await running.stderr.readline()):
            assert line, "it ended before"


async def ended(running: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(30):
        await running.communicate()
    assert running.returncode is not None
    return running.returncode


async def last_run(flow: str) -> FlowRun:
    async def ask() -> list[FlowRun]:
        async with get_client() as client:
            only = FlowFilter(name=FlowFilterName(any_=[flow]))
            return await client.read_flow_runs(flow_filter=only, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)

    return (await eventually(ask, bool))[0]


async def journalled(folder: Path) -> RunView:
    journal = Journal(open_journal_store(f"sqlite://{folder}/state.db", "default"))
    try:
        return await view_run(journal, RUN_ID)
    finally:
        await journal.aclose()


async def test_what_ends_in_time_is_recorded_and_nothing_begins(tmp_path: Path):
    async with process(tmp_path, "run", "chain") as first:
        await called(tmp_path, "ends")
        first.send_signal(signal.SIGTERM)
        await heard(first)
        (tmp_path / "go").touch()
        code = await ended(first)
    state = (await last_run("chain_flow")).state
    left = await journalled(tmp_path)
    async with process(tmp_path, "run", "chain") as second:
        again = await ended(second)

    assert code != 0
    assert state is not None
    assert state.is_crashed()
    assert [(unit.state, unit.claim) for unit in left.units if unit.name == "ends"] == [("succeeded", None)]
    assert [unit.claim for unit in left.units if unit.name != "ends"] in ([], [None])
    assert again == 0
    await called(tmp_path, "ends", "next")


@pytest.mark.parametrize(("flow", "task_id"), [("only", "ends"), ("machine", "ends-1")])
async def test_a_run_that_ends_in_time_is_completed(tmp_path: Path, flow: str, task_id: str):
    async with process(tmp_path, "run", flow) as running:
        await called(tmp_path, task_id)
        running.send_signal(signal.SIGTERM)
        await heard(running)
        (tmp_path / "go").touch()
        code = await ended(running)

    state = (await last_run(f"{flow}_flow")).state
    assert code == 0
    assert state is not None
    assert state.is_completed()


async def test_what_does_not_end_in_time_is_cancelled_and_its_work_is_free(tmp_path: Path):
    async with process(tmp_path, "run", "only", timeout_s=0.1) as running:
        await called(tmp_path, "ends")
        running.send_signal(signal.SIGTERM)
        code = await ended(running)

    left = await journalled(tmp_path)
    assert code != 0
    assert [(unit.name, unit.claim, unit.state) for unit in left.units] == [("ends", None, None)]
    await called(tmp_path, "ends", "cancelled")


async def test_a_second_signal_cuts_the_time_short(tmp_path: Path):
    async with process(tmp_path, "run", "only") as running:
        await called(tmp_path, "ends")
        running.send_signal(signal.SIGTERM)
        await heard(running)
        running.send_signal(signal.SIGTERM)
        code = await ended(running)

    assert code != 0
    await called(tmp_path, "ends", "cancelled")


async def test_a_flow_run_that_a_person_cancels_stops_at_once(tmp_path: Path):
    async with process(tmp_path, "serve", "only"):
        async with get_client() as client:
            begun = await started("only_flow/stopping", coterie_run_id=RUN_ID)
            await called(tmp_path, "ends")
            await client.set_flow_run_state(begun, Cancelling())

        # Where Prefect tells the process twice, it says that it crashed, before whoever cancelled it has the last word.
        await eventually(lambda: flow_run(begun), is_cancelled)
        await called(tmp_path, "ends", "cancelled")

    left = await journalled(tmp_path)
    assert [(unit.name, unit.claim) for unit in left.units] == [("ends", None)]


def is_cancelled(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_cancelled()


def test_a_loop_that_somebody_blocks_keeps_no_process_alive(monkeypatch: pytest.MonkeyPatch):
    blocked, sent = asyncio.new_event_loop(), threading.Event()
    monkeypatch.setattr(shutdown, "_send", sent.set)
    monkeypatch.setattr(shutdown, "_CONCLUDE_S", 0.1)
    monkeypatch.setattr(shutdown, "_live", {(blocked, Orchestrator(graceful_shutdown_timeout_s=0.1))})

    with shutdown.graceful():
        os.kill(os.getpid(), signal.SIGTERM)
        passed_on = sent.wait(20)
        sent.clear()

    # What was asked of it meanwhile.
    blocked.run_until_complete(asyncio.sleep(0.3))
    blocked.close()
    assert passed_on


class Told(BaseException):
    """What a handler raises, as Prefect's does."""


def test_a_signal_that_interrupts_a_callback_ends_the_loop_all_the_same():
    """Raised in the callback, it would be the callback's error, of which the loop would only tell."""

    def tell(*_: object) -> None:
        raise Told

    async def flow() -> None:
        with shutdown.graceful():
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
            await asyncio.sleep(20)

    before = signal.signal(signal.SIGTERM, tell)
    try:
        with pytest.raises(Told):
            asyncio.run(flow())
    finally:
        signal.signal(signal.SIGTERM, before)
