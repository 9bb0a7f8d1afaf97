"""What a flow run has finished is not paid for twice: after a kill, a retry, in another flow run."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from coterie import ArtifactStore, Orchestrator
from coterie.errors import Unavailable
from coterie.journal import Intent, Journal
from coterie.journal.view import view_run
from coterie.stores.opening import open_journal_store
from prefect_coterie import CoterieStore, arun_agent, run_plan
from prefect_coterie.policy import OPTIONS
from tests.prefect import billed
from tests.prefect.billed import bills
from tests.prefect.runs import logged

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("informed")]

REPOSITORY = Path(__file__).resolve().parents[2]
TEAM = "tests.prefect.billed:team"


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(billed.FOLDER, str(tmp_path))
    monkeypatch.setenv("COTERIE_ARTIFACTS", f"file://{tmp_path}/artifacts")
    return tmp_path


def order(ledger: Path, task_id: str, what: str) -> None:
    (ledger / f"order-{task_id}").write_text(what)


async def run_in_a_process(run_id: str) -> int:
    program = (
        "import asyncio, sys\n"
        "from tests.prefect.billed import chain_flow\n"
        "asyncio.run(chain_flow(coterie_run_id=sys.argv[1]))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, run_id, cwd=REPOSITORY)
    return await process.wait()


def tasks_of(calls: list[tuple[str, str]]) -> list[str]:
    return [task for task, _ in calls]


async def test_a_flow_that_was_killed_is_gone_on_with_by_another(ledger: Path):
    run_id = f"hop.{uuid.uuid4()}"
    order(ledger, "second", "die")
    assert await run_in_a_process(run_id) < 0

    state = await billed.chain_flow(coterie_run_id=run_id, return_state=True)

    assert state.is_completed()
    assert tasks_of(bills()) == ["first", "second", "second", "third"]
    keys = [key for task, key in bills() if task == "second"]
    assert keys[0] == keys[1]


async def test_a_run_that_is_over_is_replayed_and_says_so():
    run_id = f"over.{uuid.uuid4()}"
    await billed.chain_flow(coterie_run_id=run_id)

    state = await billed.chain_flow(coterie_run_id=run_id, return_state=True)

    assert tasks_of(bills()) == ["first", "second", "third"]
    lines = await logged(state.state_details.flow_run_id, "replayed", lines=3)
    assert len(lines) == 3
    assert "saved" in lines[0]
    assert f"coterie runs forget {run_id}" in lines[0]


async def test_force_does_everything_anew_once():
    run_id = f"force.{uuid.uuid4()}"
    await billed.chain_flow(coterie_run_id=run_id)

    await billed.chain_flow(coterie_run_id=run_id, coterie_force="again")

    assert tasks_of(bills()) == ["first", "second", "third"] * 2
    assert len({key for _, key in bills()}) == 6


async def test_a_retry_of_the_flow_replays_a_failure_that_no_person_asked_to_try_again(ledger: Path):
    order(ledger, "second", "fail")

    @flow(retries=1)
    async def retried() -> Any:
        result = await run_plan(billed.chain, team=TEAM)
        result.raise_for_status()

    await retried(return_state=True)

    assert tasks_of(bills()) == ["first", "second"]


async def test_a_person_who_goes_on_with_it_has_what_failed_tried_again_from_its_last_step(ledger: Path):
    run_id = f"person.{uuid.uuid4()}"
    order(ledger, "second", "steps")
    await billed.chain_flow(coterie_run_id=run_id, return_state=True)
    assert tasks_of(bills()) == ["first", "second", "second.costly"]

    async with opened() as journal:
        orchestrator = Orchestrator(billed.team, journal=journal, artifacts=artifacts(ledger))
        order(ledger, "second", "")
        result = await orchestrator.execute_workflow(billed.chain, workflow_id=run_id, intent=Intent(goes_on=True))

    assert result.status == "succeeded"
    assert tasks_of(bills())[3:] == ["second", "third"]


async def test_lone_agents_of_one_type_are_told_apart_and_each_is_paid_once():
    failed = False

    @flow(retries=1)
    async def lone() -> None:
        nonlocal failed
        for n in (1, 2, 2):
            await arun_agent("worker", {"n": n}, team=TEAM)
        if not failed:
            failed = True
            raise RuntimeError("the flow itself fails once")

    await lone()

    assert len(bills()) == 3
    assert len({key for _, key in bills()}) == 3


async def test_a_store_block_can_turn_the_journal_off(ledger: Path):
    store = CoterieStore(url=f"sqlite://{ledger}/state.db", journal="off")

    @flow
    async def unrecorded() -> None:
        for _ in range(2):
            await run_plan(billed.chain, team=TEAM, store=store, workflow_id="off.1")

    await unrecorded()

    assert len(bills()) == 6


async def test_the_journal_knows_how_the_run_ended():
    run_id = f"ended.{uuid.uuid4()}"

    await billed.chain_flow(coterie_run_id=run_id)

    async with opened() as journal:
        view = await view_run(journal, run_id)
    assert view.state == "succeeded"
    assert [unit.state for unit in view.units] == ["succeeded"] * 3
    assert view.header.team == TEAM


@pytest.mark.parametrize("step", ["begin", "conclude"])
async def test_a_store_that_is_away_as_a_run_begins_or_ends_is_asked_again(step: str, monkeypatch: pytest.MonkeyPatch):
    do, tries = getattr(Journal, step), 0

    async def away_at_first(*args: Any, **options: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("the store is away")
        return await do(*args, **options)

    monkeypatch.setattr(Journal, step, away_at_first)
    monkeypatch.setitem(OPTIONS, "retry_delay_seconds", [0.0])

    state = await billed.chain_flow(return_state=True)

    assert state.is_completed()
    assert tasks_of(bills()) == ["first", "second", "third"]


def artifacts(ledger: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{ledger}/artifacts")


class opened:  # noqa: N801  # reads as what it does
    """The journal of these tests, closed afterwards."""

    async def __aenter__(self) -> Journal:
        self.journal = Journal(open_journal_store(None, "default"))
        return self.journal

    async def __aexit__(self, *_: object) -> None:
        await self.journal.aclose()
