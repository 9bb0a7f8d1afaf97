"""A flow run that a person retries, on the page or by the command, is tried again; what Prefect retries is not."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.objects import State
from prefect.states import AwaitingRetry, Completed, Crashed, Failed, Paused, Pending, Running, Scheduled, Suspended

from prefect_coterie.demand import last_demand
from tests.prefect.billed import bills
from tests.prefect.deployments import REPOSITORY, billed_folder, final, prefect, started
from tests.prefect.runs import eventually, flow_run

pytestmark = [pytest.mark.prefect]

BEGUN = [Scheduled(), Pending(), Running()]


@pytest.mark.parametrize(
    ("states", "demand"),
    [
        ([], 0),
        (BEGUN, 0),
        ([Pending(), Running()], 0),
        # The flow's own retries.
        ([*BEGUN, AwaitingRetry(), Running()], 0),
        # Its process was told to end, or lost while it was paused, and it was scheduled again.
        ([*BEGUN, AwaitingRetry(), Pending(), Running()], 0),
        ([*BEGUN, Paused(), AwaitingRetry(), Pending(), Running()], 0),
        # It was resumed.
        ([*BEGUN, Suspended(), Scheduled(name="Resuming"), Pending(), Running()], 0),
        # Infrastructure started it again.
        ([*BEGUN, Crashed(), Pending(), Running()], 0),
        # The page's button, and the command.
        ([*BEGUN, Failed(), AwaitingRetry(), Pending(), Running()], 4),
        ([*BEGUN, Failed(), Scheduled(), Scheduled(name="Late"), Pending(), Running()], 4),
        ([*BEGUN, Crashed(), Scheduled(), Running()], 4),
        ([*BEGUN, Completed(name="Partial"), Scheduled(), Running()], 4),
        # It holds through retries of Prefect, until there is another.
        ([*BEGUN, Failed(), Scheduled(), Running(), AwaitingRetry(), Running()], 4),
        ([*BEGUN, Failed(), Scheduled(), Running(), Failed(), Scheduled(), Running()], 7),
    ],
)
def test_a_run_that_had_ended_and_is_scheduled_again_was_asked_for(states: list[State], demand: int):
    assert last_demand(states) == demand


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with billed_folder(tmp_path_factory, "demands") as found:
        yield found


@pytest.fixture(scope="module")
def served(server: object, folder: Path) -> Iterator[None]:
    with prefect("-m", "tests.prefect.retried"):
        yield


@pytest.fixture(autouse=True)
def failing(folder: Path) -> Iterator[Path]:
    """The order by which the second task fails."""
    (folder / "ledger").unlink(missing_ok=True)
    order = folder / "order-second"
    order.write_text("fail")
    yield order
    order.unlink(missing_ok=True)


async def begun(deployment: str) -> UUID:
    return await started(deployment, coterie_run_id=f"retried.{uuid.uuid4()}")


async def retry(flow_run_id: UUID) -> str:
    """Type `prefect flow-run retry`; how the run ends then."""
    before = (await flow_run(flow_run_id)).state_id
    command = [sys.executable, "-m", "prefect", "flow-run", "retry", str(flow_run_id)]
    process = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY)
    await process.wait()
    run = await eventually(
        lambda: flow_run(flow_run_id),
        lambda run: run.state is not None and run.state.is_final() and run.state_id != before,
    )
    return run.state_name or ""


def mend(failing: Path) -> None:
    failing.unlink()


def tasks() -> list[str]:
    return [task for task, _ in bills()]


async def test_a_retry_by_the_command_tries_again_what_failed_as_often_as_it_is_typed(served: None, failing: Path):
    flow_run_id = await begun("ordered-chain/served")
    assert (await final(flow_run_id)).state_name == "Failed"
    assert tasks() == ["first", "second"]

    assert await retry(flow_run_id) == "Failed"
    assert tasks() == ["first", "second", "second"]

    mend(failing)
    assert await retry(flow_run_id) == "Completed"
    assert tasks() == ["first", "second", "second", "second", "third"]


async def test_a_retry_of_a_flow_that_called_a_plan_s_tries_again_what_failed_and_pays_for_nothing_else(
    served: None, failing: Path
):
    flow_run_id = await begun("calling-chain/served")
    assert (await final(flow_run_id)).state_name == "Failed"
    assert tasks() == ["first", "second"]

    mend(failing)
    assert await retry(flow_run_id) == "Completed"
    assert tasks() == ["first", "second", "second", "third"]


async def test_what_prefect_retries_by_itself_is_told_the_failure_again(served: None):
    flow_run_id = await begun("retried-chain/served")

    assert (await final(flow_run_id)).state_name == "Failed"

    assert (await flow_run(flow_run_id)).run_count == 2
    assert tasks() == ["first", "second"]
