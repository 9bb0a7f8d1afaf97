"""Flow runs of deployments that wait for people without a process, or lose it while they wait."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, get_client
from prefect.client.schemas.objects import State
from prefect.states import AwaitingRetry, Cancelled, Running, Suspended

from coterie import Approvals, Orchestrator, StateMachineRun, Task, Team
from coterie.journal import Journal
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.opening import open_journal_store
from prefect_coterie import wake_suspended
from prefect_coterie.people import waking
from prefect_coterie.people.standstill import start_again
from prefect_coterie.people.waking import needs_somebody
from tests.prefect.billed import bills
from tests.prefect.deployments import billed_folder, final, prefect, started
from tests.prefect.people import answer, asked_in, question, until
from tests.prefect.runs import eventually, flow_run

pytestmark = [pytest.mark.prefect]


@flow
def nothing() -> None:
    """Do nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of the agents of all these tests: they work in the processes that are served."""
    with billed_folder(tmp_path_factory, "suspension") as found:
        yield found


@pytest.fixture(scope="module")
def served(server: object, folder: Path) -> Iterator[None]:
    with prefect("-m", "tests.prefect.suspending"):
        yield


@asynccontextmanager
async def machine_of(run_id: str) -> AsyncIterator[StateMachineRun]:
    journal = Journal(open_journal_store(None, "default"))
    try:
        yield StateMachineRun(journal, run_id)
    finally:
        await journal.aclose()


@asynccontextmanager
async def approvals() -> AsyncIterator[Approvals]:
    journal = Journal(open_journal_store(None, "default"))
    try:
        yield Approvals(journal)
    finally:
        await journal.aclose()


def paid() -> list[str]:
    return sorted(task for task, _ in bills())


@pytest.fixture
def run_id(folder: Path) -> str:
    (folder / "ledger").unlink(missing_ok=True)
    return f"suspended.{uuid.uuid4()}"


async def test_a_suspended_review_goes_on_with_the_answer_and_with_what_is_sent_elsewhere(served: None, run_id: str):
    flow_run_id = await started("suspended-review/served", coterie_run_id=run_id)
    await asked_in(flow_run_id, 2, state="Suspended")
    await answer(flow_run_id, event="revise", who="ann", payload={"comment": ", shorter"})
    await asked_in(flow_run_id, 4, state="Suspended")
    assert await wake_suspended() == []
    async with machine_of(run_id) as run:
        assert (await run.history())[1].who == "ann"
        await run.send("approve", {"level": 2}, who="cleo")

    assert await wake_suspended() == [flow_run_id]
    ended = await final(flow_run_id)

    assert ended.state is not None
    assert ended.state.is_completed()
    assert len(bills()) == 2


@pytest.mark.parametrize("since", [Running(), Cancelled(), Suspended(pause_key="another")])
async def test_who_was_resumed_or_ended_in_the_meantime_is_not_started_again(since: State[Any]):
    suspended: State[Any] = Suspended(pause_key="one")
    async with get_client() as client:
        flow_run_id = (await client.create_flow_run(nothing)).id
        await client.set_flow_run_state(flow_run_id, since, force=True)

        assert not await start_again(flow_run_id, suspended)

        found = (await client.read_flow_run(flow_run_id)).state
    assert found is not None
    assert found.name == since.name


async def test_a_run_that_this_journal_knows_otherwise_is_left_alone_and_keeps_nobody_asleep():
    journal = Journal(MemoryJournalStore())
    team = Team("team")
    team.agent("worker")(lambda _: None)
    await Orchestrator(team, journal=journal).execute_workflow([Task("a", "worker")], workflow_id="r1")

    assert await needs_somebody(journal, {"run": "r1", "visit": 1})
    assert await needs_somebody(journal, {"run": "r2", "visit": 1})


async def test_whoever_answers_a_suspended_review_that_has_moved_on_wakes_it(served: None, run_id: str):
    flow_run_id = await started("suspended-review/served", coterie_run_id=run_id)
    await asked_in(flow_run_id, 2, state="Suspended")
    async with machine_of(run_id) as run:
        await run.send("approve", {"level": 2}, who="cleo")

    await answer(flow_run_id, event="revise", who="ann")

    ended = await final(flow_run_id)
    assert ended.state is not None
    assert ended.state.is_completed()
    async with machine_of(run_id) as run:
        assert [visit.who for visit in await run.history()] == ["", "cleo"]


async def test_a_time_out_of_a_suspended_review_is_taken_when_it_is_woken(served: None, run_id: str):
    flow_run_id = await started("timed-review/served", coterie_run_id=run_id)
    await until(flow_run_id, "Suspended")

    async def woken() -> list[UUID]:
        return await wake_suspended()

    assert await eventually(woken, bool) == [flow_run_id]

    ended = await final(flow_run_id)
    assert ended.state is not None
    assert ended.state.is_failed()
    async with machine_of(run_id) as run:
        assert [visit.trigger for visit in await run.history()] == ["succeeded", "timeout"]


async def test_a_suspended_plan_replays_what_is_finished_and_goes_on_with_the_decision(served: None, run_id: str):
    flow_run_id = await started("suspended-plan/served", coterie_run_id=run_id)
    await until(flow_run_id, "Suspended")
    await answer(flow_run_id, choice="approve", who="ann", values={"copies": 2})

    ended = await final(flow_run_id)

    assert ended.state is not None
    assert ended.state.is_completed()
    assert [task for task, _ in bills()] == ["draft", "send"]


async def test_a_plan_that_would_be_paid_for_again_is_not_suspended(served: None, run_id: str):
    ended = await final(await started("unkept-plan/served", coterie_run_id=run_id))

    assert ended.state is not None
    assert ended.state.is_failed()
    assert "paid for again" in (ended.state.message or "")
    assert bills() == []


async def test_two_who_are_asked_by_a_suspended_plan_answer_one_after_another(served: None, run_id: str):
    flow_run_id = await started("suspended-signatures/served", coterie_run_id=run_id)
    first = await until(flow_run_id, "Suspended")
    await answer(flow_run_id, choice="approve", who="ann")
    second = await until(flow_run_id, "Suspended", besides=first.state_id)
    (_, one), (_, other) = await question(first), await question(second)
    before = paid()
    await answer(flow_run_id, choice="approve", who="ben")

    ended = await final(flow_run_id)
    assert ended.state is not None
    assert ended.state.is_completed()
    assert ("legal" in one) != ("legal" in other)
    assert before == sorted(["aside", "aside-too", "after-legal" if "legal" in one else "after-style"])
    assert paid() == ["after-legal", "after-style", "aside", "aside-too"]


async def test_an_answer_from_elsewhere_to_what_is_not_shown_wakes_a_suspended_plan(served: None, run_id: str):
    flow_run_id = await started("suspended-signatures/served", coterie_run_id=run_id)
    _, text = await question(shown := await until(flow_run_id, "Suspended"))
    other = "style" if "legal" in text else "legal"
    assert await wake_suspended() == []
    async with approvals() as there:
        await there.answer(run_id, other, "approve", by="cleo")

    assert await wake_suspended() == [flow_run_id]

    again = await until(flow_run_id, "Suspended", besides=shown.state_id)
    assert await question(again) == await question(shown)
    assert await wake_suspended() == []
    assert paid() == sorted(["aside", "aside-too", f"after-{other}"])
    await answer(flow_run_id, choice="approve", who="ann")
    ended = await final(flow_run_id)
    assert ended.state is not None
    assert ended.state.is_completed()
    assert paid() == ["after-legal", "after-style", "aside", "aside-too"]


async def test_who_was_lost_before_the_form_was_shown_is_woken_and_asks_again(
    served: None, run_id: str, monkeypatch: pytest.MonkeyPatch
):
    flow_run_id = await started("suspended-plan/served", coterie_run_id=run_id)
    shown = await until(flow_run_id, "Suspended")
    assert shown.state is not None
    keyset = shown.state.state_details.run_input_keyset
    assert keyset is not None
    async with get_client() as client:
        await client.delete_flow_run_input(flow_run_id, keyset["schema"])

    assert await wake_suspended() == []
    monkeypatch.setattr(waking, "_SHOWN_AFTER", timedelta(0))
    assert await wake_suspended() == [flow_run_id]

    await until(flow_run_id, "Suspended", besides=shown.state_id)
    assert await wake_suspended() == []
    await answer(flow_run_id, choice="approve", who="ann", values={"copies": 2})
    ended = await final(flow_run_id)
    assert ended.state is not None
    assert ended.state.is_completed()
    assert [task for task, _ in bills()] == ["draft", "send"]


async def test_who_retries_a_run_that_was_rejected_is_asked_anew(served: None, run_id: str):
    flow_run_id = await started("suspended-plan/served", coterie_run_id=run_id)
    before = await until(flow_run_id, "Suspended")
    await answer(flow_run_id, choice="reject", who="ann")
    rejected = await final(flow_run_id)

    async with get_client() as client:
        await client.set_flow_run_state(flow_run_id, AwaitingRetry())
    again = await until(flow_run_id, "Suspended")
    await answer(flow_run_id, choice="approve", who="ben", values={"copies": 1})

    ended = await final(flow_run_id)
    assert rejected.state is not None
    assert rejected.state.is_failed()
    assert ended.state is not None
    assert ended.state.is_completed()
    assert before.state is not None
    assert again.state is not None
    assert before.state.state_details.run_input_keyset != again.state.state_details.run_input_keyset
    assert [task for task, _ in bills()] == ["draft", "send"]


async def test_a_paused_run_whose_process_was_killed_asks_the_same_when_it_is_retried(
    served: None, run_id: str, folder: Path
):
    flow_run_id = await started("paused-review/served", coterie_run_id=run_id)
    await asked_in(flow_run_id, 2)
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    await eventually(lambda: flow_run(flow_run_id), lambda run: run.state is not None and run.state.is_crashed())

    async with get_client() as client:
        await client.set_flow_run_state(flow_run_id, AwaitingRetry())
    await asked_in(flow_run_id, 2)
    await answer(flow_run_id, event="approve", payload={"level": 2})

    ended = await final(flow_run_id)
    assert ended.state is not None
    assert ended.state.is_completed()
    assert len(bills()) == 1
