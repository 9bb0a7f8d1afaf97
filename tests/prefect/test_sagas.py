"""Plans whose tasks name compensations, as flows on a real server: what a failed run made is undone at its end."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flows import load_flow_from_entrypoint
from prefect.states import AwaitingRetry
from prefect.task_runners import ThreadPoolTaskRunner

from coterie import ArtifactStore, Orchestrator, Ref, SagaResult, TaskResult
from coterie.journal import Intent, Journal
from coterie.stores.opening import open_journal_store
from prefect_coterie import plan_to_flow, run_plan
from tests.prefect.deployments import final, prefect, started
from tests.prefect.provisioned import chain_flow
from tests.prefect.runs import eventually, flow_run, logged, task_runs
from tests.support import provisioning
from tests.support.provisioning import TEAM_PATH, chain, keys, ledger, order

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("informed")]

REPOSITORY = Path(__file__).resolve().parents[2]
FORWARD = ["+net", "+vm", "+app"]


@pytest.fixture(autouse=True)
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COTERIE_ARTIFACTS", f"file://{tmp_path}/artifacts")
    return tmp_path


@pytest.fixture
def run(provider: Path) -> Callable[..., Awaitable[Any]]:
    """Run the flow of the chain."""

    async def run(run_id: str, **parameters: Any) -> Any:
        return await chain_flow(coterie_run_id=run_id, folder=str(provider), return_state=True, **parameters)

    return run


def new_id() -> str:
    return f"saga.{uuid.uuid4()}"


async def result_of(state: Any, provider: Path) -> SagaResult:
    data = await state.aresult(raise_on_failure=False)
    document: Any = await ArtifactStore(f"file://{provider}/artifacts").load(Ref.deserialize(data["stored"]))
    return SagaResult.from_dict(document)


async def run_in_a_process(run_id: str, provider: Path) -> int:
    program = (
        "import asyncio, sys\n"
        "from tests.prefect.provisioned import chain_flow\n"
        "asyncio.run(chain_flow(coterie_run_id=sys.argv[1], folder=sys.argv[2]))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, run_id, str(provider), cwd=REPOSITORY)
    return await process.wait()


async def test_a_run_that_fails_is_undone_in_reverse_order_and_says_so(provider: Path, run: Any):
    order(provider, "+app", "fail")

    state = await run(new_id())

    assert state.is_failed()
    assert "did not succeed: app failed; undone: vm, net" in state.message
    assert ledger(provider) == [*FORWARD, "-vm", "-net"]
    result = await result_of(state, provider)
    assert (result.status, result.outcome) == ("failed", "compensated")
    assert (await state.aresult(raise_on_failure=False))["saga"] == {"outcome": "compensated", "left": []}
    runs = await task_runs(state.state_details.flow_run_id, {"net", "vm", "app", "workflow_result"})
    assert runs["workflow_result"].state_name == "Undone"
    assert len(await logged(state.state_details.flow_run_id, "undoing saga.", lines=1)) == 1


async def test_a_run_that_succeeds_is_not_undone(provider: Path, run: Any):
    state = await run(new_id())

    assert state.is_completed()
    assert ledger(provider) == FORWARD
    assert (await result_of(state, provider)).outcome == "succeeded"
    assert "saga" not in await state.aresult()


async def test_a_run_that_is_killed_while_it_is_undone_is_undone_further_and_each_step_once(provider: Path, run: Any):
    run_id = new_id()
    order(provider, "+app", "fail")
    order(provider, "-net", "die")
    assert await run_in_a_process(run_id, provider) < 0
    assert ledger(provider) == [*FORWARD, "-vm", "-net"]

    state = await run(run_id)

    assert state.is_failed()
    assert ledger(provider) == [*FORWARD, "-vm", "-net", "-net"]
    assert keys(provider, "-net") == 1


async def test_a_run_that_is_killed_on_its_way_forward_goes_forward(provider: Path, run: Any):
    run_id = new_id()
    order(provider, "+vm", "die")
    assert await run_in_a_process(run_id, provider) < 0

    state = await run(run_id)

    assert state.is_completed()
    assert ledger(provider) == ["+net", "+vm", "+vm", "+app"]


async def test_a_run_that_was_undone_is_told_and_goes_forward_anew_when_a_person_forces_it(provider: Path, run: Any):
    run_id = new_id()
    order(provider, "+app", "fail")
    first = await run(run_id)
    order(provider, "+app", "")

    told = await run(run_id)
    after_told = ledger(provider)
    forced = await run(run_id, coterie_force="mended")
    again = await run(run_id)

    assert (await result_of(told, provider)).status_document() == (await result_of(first, provider)).status_document()
    assert after_told == [*FORWARD, "-vm", "-net"]
    assert forced.is_completed()
    assert ledger(provider)[5:] == FORWARD
    assert keys(provider, "+net") == 2
    assert again.is_completed()
    runs = await task_runs(told.state_details.flow_run_id, {"net", "vm", "app", "workflow_result"})
    assert {name: runs[name].state_name for name in ("net", "vm", "app")} == {
        "net": "Cancelled",
        "vm": "UpstreamFailed",
        "app": "UpstreamFailed",
    }


async def test_a_retry_of_the_flow_is_told_how_it_ended(provider: Path):
    order(provider, "+app", "fail")

    @flow(retries=1)
    async def retried() -> Any:
        (await run_plan(chain, team=TEAM_PATH, params={"folder": str(provider)})).raise_for_status()

    await retried(return_state=True)

    assert ledger(provider) == [*FORWARD, "-vm", "-net"]


async def test_what_could_not_be_undone_is_told_and_undone_when_a_person_has_it_go_on(provider: Path, run: Any):
    run_id = new_id()
    order(provider, "+app", "fail")
    order(provider, "-vm", "fail")

    state = await run(run_id)

    assert ledger(provider) == [*FORWARD, "-vm", "-vm", "-net"]
    assert "not undone: vm (failed): ValueError: -vm fails, as ordered" in state.message
    assert state.message.endswith(f"; what to do: coterie runs show {run_id}")
    data = await state.aresult(raise_on_failure=False)
    assert data["saga"] == {"outcome": "compensation_failed", "left": [{"id": "vm", "left": "failed"}]}
    order(provider, "-vm", "")
    result = await in_process(run_id, provider, Intent(goes_on=True))
    assert result.outcome == "compensated"
    assert ledger(provider)[6:] == ["-vm"]


async def test_who_retries_the_flow_run_has_what_stands_tried_again_and_once_nothing_does_the_run_anew(provider: Path):
    order(provider, "+app", "fail")
    order(provider, "-net", "fail")
    with prefect("-m", "tests.prefect.provisioned"):
        flow_run_id = await provisioning_run(provider)
        left = await final(flow_run_id)
        order(provider, "-net", "")
        undone = await retried(flow_run_id)
        after_undone = ledger(provider)
        order(provider, "+app", "")
        anew = await retried(flow_run_id)

    assert "not undone: net (failed)" in str(left.state and left.state.message)
    assert "undone: vm, net" in str(undone.state and undone.state.message)
    assert after_undone == [*FORWARD, "-vm", "-net", "-net", "-net"]
    assert (anew.state_name, ledger(provider)[7:]) == ("Completed", FORWARD)


async def provisioning_run(provider: Path) -> UUID:
    return await started("chain-flow/served", coterie_run_id=new_id(), folder=str(provider))


async def retried(flow_run_id: UUID) -> FlowRun:
    """As by the button of the server's page; once it has ended again."""
    before = (await flow_run(flow_run_id)).state_id
    async with get_client() as client:
        await client.set_flow_run_state(flow_run_id, AwaitingRetry())
    return await eventually(lambda: flow_run(flow_run_id), lambda run: ended_anew(run, before))


def ended_anew(run: FlowRun, before: UUID | None) -> bool:
    return run.state is not None and run.state.is_final() and run.state_id != before


async def test_what_another_engine_s_tasks_began_is_undone_by_a_flow_and_then_by_nobody(provider: Path, run: Any):
    run_id = new_id()
    order(provider, "+app", "fail")
    intent = Intent("airflow.provisioned.manual")
    async with opened(provider) as orchestrator:
        results: dict[str, TaskResult] = {}
        for task in chain.tasks:
            before = {name: results[name] for name in task.upstream}
            results[task.id] = await orchestrator.execute_task(
                task, upstream=before, workflow_id=run_id, params={"folder": str(provider)}, plan=chain, intent=intent
            )

    state = await run(run_id)
    there = await in_process(run_id, provider)

    assert ledger(provider) == [*FORWARD, "-vm", "-net"]
    assert there.status_document() == (await result_of(state, provider)).status_document()


async def test_a_foreach_and_tasks_of_a_task_runner_are_undone_too(provider: Path):
    order(provider, "+app", "fail")
    fleet = plan_to_flow(
        provisioning.fleet, team=TEAM_PATH, task_runner=ThreadPoolTaskRunner(max_workers=2), foreach_parts=2
    )

    state = await fleet(folder=str(provider), return_state=True)

    assert state.is_failed()
    assert ledger(provider)[-2:] == ["-each", "-net"]
    assert Counter(ledger(provider)) == {"+net": 1, "+look": 1, "+each": 2, "+app": 1, "-each": 1, "-net": 1}


async def in_process(run_id: str, provider: Path, intent: Intent | None = None) -> SagaResult:
    async with opened(provider) as orchestrator:
        result = await orchestrator.execute_workflow(
            chain, workflow_id=run_id, params={"folder": str(provider)}, intent=intent
        )
    assert isinstance(result, SagaResult)
    return result


class opened:  # noqa: N801  # reads as what it does
    """An orchestrator with the journal of these tests, closed afterwards."""

    def __init__(self, provider: Path) -> None:
        self._provider = provider

    async def __aenter__(self) -> Orchestrator:
        self._journal = Journal(open_journal_store(None, "default"))
        store = ArtifactStore(f"file://{self._provider}/artifacts")
        return Orchestrator(provisioning.team, journal=self._journal, artifacts=store)

    async def __aexit__(self, *_: object) -> None:
        await self._journal.aclose()


async def test_the_example_takes_away_what_it_had_made(provider: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COTERIE_PROVISIONING_FOLDER", str(provider))
    monkeypatch.setenv("COTERIE_PROVISIONING_PACE_S", "0")
    example = load_flow_from_entrypoint(f"{REPOSITORY}/flows/saga_provisioning.py:saga_provisioning")

    undone = await example(return_state=True)
    kept = await example(sold_out="nothing", return_state=True)

    assert (undone.is_failed(), kept.is_completed()) == (True, True)
    asked = [line.partition(".")[0] for line in (provider / "log").read_text().splitlines()]
    assert asked[:5] == ["make network", "make machine", "make address", "remove machine", "remove network"]
    assert asked[5:] == ["make network", "make machine", "make address"]
