"""State machines in flow runs: people answer where the flow run waits, and nothing that they say is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx import ConnectError
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Cancelling

from coterie import MachineStatus, StateMachineRun
from coterie.errors import IllegalTransition, PolicyError, UnknownRun
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store
from prefect_coterie import CoterieStore, RunFailed, machine_state, machine_to_flow
from prefect_coterie.people import standstill
from tests.prefect import billed, reviewed
from tests.prefect.billed import bills
from tests.prefect.people import answer, asked_in, begun, coterie, named, question, until
from tests.prefect.reviewed import TEAM, interruptible, review, review_flow, review_machine
from tests.prefect.runs import artifacts_of, eventually, flow_run, logged, task_runs

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("informed")]

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(billed.FOLDER, str(tmp_path))
    monkeypatch.setenv("COTERIE_ARTIFACTS", f"file://{tmp_path}/artifacts")
    return tmp_path


@pytest.fixture
def run_id() -> str:
    return f"review.{uuid.uuid4()}"


@asynccontextmanager
async def machine_of(run_id: str) -> AsyncIterator[StateMachineRun]:
    """A machine's run, as any other process sees it."""
    journal = Journal(open_journal_store(None, "default"))
    try:
        yield StateMachineRun(journal, run_id)
    finally:
        await journal.aclose()


async def history_of(run_id: str) -> list[tuple[str, str | None, str]]:
    async with machine_of(run_id) as run:
        with suppress(UnknownRun):
            return [(visit.state, visit.trigger, visit.who) for visit in await run.history()]
    return []


async def test_people_answer_paused_flow_runs_until_the_machine_is_over(run_id: str):
    async with begun(review_flow, run_id) as (flow_run_id, running):
        shown = await asked_in(flow_run_id, 2)
        form, text = await question(shown)
        await answer(flow_run_id, event="revise", who="ann", payload={"comment": ", but shorter"})
        await asked_in(flow_run_id, 4)
        await logged(flow_run_id, "paused: 'review' (visit 4) waits for approve, revise (or: coterie machine send")
        await logged(flow_run_id, "visit 2: review, revise by ann, to draft")
        await answer(flow_run_id, event="approve", who="ben", payload={"level": 2})

    state = running.result()
    assert state.is_completed()
    assert await state.aresult() == {
        "workflow_id": run_id,
        "status": "succeeded",
        "machine": {"name": "review", "hash": review.hash},
        "state": "published",
        "visits": 5,
    }
    assert await history_of(run_id) == [
        ("draft", "succeeded", ""),
        ("review", "revise", "ann"),
        ("draft", "succeeded", ""),
        ("review", "approve", "ben"),
    ]
    async with machine_of(run_id) as run:
        assert (await run.history())[1].payload == {"comment": ", but shorter"}
    assert form["properties"]["event"]["enum"] == ["approve", "revise"]
    assert form["required"] == ["event"]
    assert "**review**" in text
    assert "````" not in text
    assert "# `draft`" in text
    assert len(bills()) == 2
    runs = await task_runs(flow_run_id, {"draft-1", "draft-3"})
    assert all(one.state is not None and one.state.is_completed() for one in runs.values())
    assert set(await artifacts_of(flow_run_id)) == {"review-history"}
    (latest,) = await latest_artifact("review-history")
    assert "ended **succeeded**" in (latest.description or "")
    assert run_id in (latest.description or "")


async def latest_artifact(key: str) -> list[Any]:
    async with get_client() as client:
        return await client.read_latest_artifacts(
            artifact_filter=ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=[key]))
        )


async def test_the_example_is_revised_until_somebody_approves(run_id: str):
    example = load_flow_from_entrypoint(f"{REPOSITORY}/flows/review_until_approved.py:review_until_approved")
    async with begun(example, run_id) as (flow_run_id, running):
        await asked_in(flow_run_id, 2)
        await answer(flow_run_id, event="revise", who="ann", payload={"comment": "shorter"})
        _, text = await question(await asked_in(flow_run_id, 4))
        await answer(flow_run_id, event="approve", who="ben")

    assert "Revised: shorter" in text
    assert (await running.result().aresult())["state"] == "published"
    assert [(state, trigger, who) for state, trigger, who in await history_of(run_id) if who] == [
        ("review", "revise", "ann"),
        ("review", "approve", "ben"),
    ]


async def test_an_event_that_is_sent_elsewhere_ends_the_pause_and_is_taken_once(run_id: str):
    async with begun(review_flow, run_id) as (flow_run_id, running):
        await asked_in(flow_run_id, 2)
        sent = await coterie("machine", "send", run_id, "approve", "--payload", '{"level": 3}', "--who", "cleo")
        assert sent.code == 0, sent.output

    assert running.result().is_completed()
    assert await history_of(run_id) == [("draft", "succeeded", ""), ("review", "approve", "cleo")]


async def test_whoever_sends_an_event_after_the_answer_is_told(run_id: str):
    async with begun(review_flow, run_id) as (flow_run_id, _):
        await asked_in(flow_run_id, 2)
        await answer(flow_run_id, event="revise", who="ann")
        await asked_in(flow_run_id, 4)
        async with machine_of(run_id) as run:
            with pytest.raises(IllegalTransition, match="meant for visit 2"):
                await run.send("approve", {"level": 3}, visit=2)
            await run.send("approve", {"level": 3}, visit=4)


async def test_an_answer_that_comes_after_an_event_is_refused_and_says_so(run_id: str):
    slow = machine_to_flow(review, team=TEAM, name="slow", fields={}, poll_s=3.0)
    async with begun(slow, run_id) as (flow_run_id, running):
        await asked_in(flow_run_id, 2)
        await answer(flow_run_id, event="revise", who="too-late")
        async with machine_of(run_id) as run:
            await run.send("approve", {"level": 3}, who="cleo")

    assert running.result().is_completed()
    assert (await history_of(run_id))[-1] == ("review", "approve", "cleo")
    (line,) = await logged(flow_run_id, "too-late")
    assert "'revise'" in line
    assert "was not taken" in line


async def test_a_refused_answer_is_asked_for_again_and_the_form_says_why(run_id: str):
    async with begun(review_flow, run_id) as (flow_run_id, _):
        await asked_in(flow_run_id, 2)
        await answer(flow_run_id, event="approve", who="ann", payload={"level": 1})
        _, text = await question(await asked_in(flow_run_id, 2, again=1))
        await answer(flow_run_id, event="approve", who="ann", payload={"level": 2})

    assert "The last answer was not taken" in text
    assert "no guard" in text
    assert len(await history_of(run_id)) == 2


async def test_the_server_refuses_what_the_form_does_not_offer(run_id: str):
    async with begun(review_flow, run_id) as (flow_run_id, _):
        await asked_in(flow_run_id, 2)
        for wrong in ({"event": "publish"}, {"who": "ann"}, {"event": "revise", "payload": {"level": 9}}):
            with pytest.raises(RuntimeError):
                await answer(flow_run_id, **wrong)
        await answer(flow_run_id, event="approve", payload={"level": 2})


async def test_a_time_out_ends_the_pause(run_id: str):
    timed = machine_to_flow(review_machine(timeout_s=2.0), team=TEAM, name="timed", poll_s=0.2)
    async with begun(timed, run_id) as (flow_run_id, running):
        _, text = await question(await asked_in(flow_run_id, 2))

    assert "Without an event until" in text
    assert running.result().is_failed()
    assert (await history_of(run_id))[-1] == ("review", "timeout", "")
    assert [state.name for state in await states_of(flow_run_id)][-3:] == ["Paused", "Running", "Failed"]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_the_state_of_a_machine_that_ended_otherwise_raises_what_became_of_it(status: Any):
    ended = MachineStatus("r1", "review", "hash", "dropped", 3, 0.0, "over", status=status)

    state = machine_state(ended)

    assert state.name == status.capitalize()
    with pytest.raises(RunFailed, match=f"'r1' ended {status}: the machine ended in the state 'dropped'") as raised:
        await state.aresult()
    assert raised.value.data == await state.aresult(raise_on_failure=False)


async def states_of(flow_run_id: UUID) -> list[State[Any]]:
    async with get_client() as client:
        return sorted(await client.read_flow_run_states(flow_run_id), key=lambda state: state.timestamp)


async def test_an_event_ends_an_action_and_its_task_run(run_id: str, ledger: Path):
    (ledger / "order-draft-1").write_text("long")
    flow = machine_to_flow(interruptible, team=TEAM)
    async with begun(flow, run_id) as (flow_run_id, running):
        await eventually(_bills, bool)
        async with machine_of(run_id) as run:
            await run.send("skip")

    assert running.result().is_completed()
    (ended,) = (await task_runs(flow_run_id, {"draft-1"})).values()
    assert ended.state_name == "Cancelled"


async def _bills() -> list[tuple[str, str]]:
    return bills()


async def test_a_flow_run_that_waits_without_a_form_takes_events(run_id: str):
    waiting = machine_to_flow(review, team=TEAM, name="waiting", person="wait")
    async with begun(waiting, run_id) as (flow_run_id, running), machine_of(run_id) as run:
        await eventually(lambda: history_of(run_id), bool)
        await eventually(run.status, lambda status: status.phase == "waiting")
        assert (await flow_run(flow_run_id)).state_name == "Running"
        await run.send("approve", {"level": 2})

    assert running.result().is_completed()


async def test_machines_of_one_flow_run_ask_one_after_another():
    first, second = (f"turns.{uuid.uuid4()}" for _ in range(2))
    running = asyncio.create_task(reviewed.review_in_turns(first, second))
    flow_run_id = (await named(f"turns/{first}")).id
    asked = set()
    while len(asked) < 2:
        shown = await until(flow_run_id, "Paused")
        _, text = await question(shown)
        asked.add(first if first in text else second)
        await answer(flow_run_id, event="approve", payload={"level": 2})
        await eventually(lambda: flow_run(flow_run_id), lambda run, before=shown: run.state_id != before.state_id)

    assert asked == {first, second}
    assert await running == ["succeeded", "succeeded"]


async def run_in_a_process(run_id: str) -> asyncio.subprocess.Process:
    program = (
        "import asyncio, sys\n"
        "from tests.prefect.reviewed import review_flow\n"
        "asyncio.run(review_flow(coterie_run_id=sys.argv[1]))\n"
    )
    return await asyncio.create_subprocess_exec(sys.executable, "-c", program, run_id, cwd=REPOSITORY)


async def test_a_flow_that_was_killed_while_it_was_paused_is_gone_on_with_by_another(run_id: str):
    process = await run_in_a_process(run_id)
    before = await named(f"review/{run_id}")
    await asked_in(before.id, 2)
    process.kill()
    await process.wait()

    running = asyncio.create_task(review_flow(coterie_run_id=run_id, return_state=True))
    after = await named(f"review/{run_id}", besides=before.id)
    await asked_in(after.id, 2)
    await answer(after.id, event="approve", payload={"level": 2})

    assert (await running).is_completed()
    assert len(bills()) == 1
    # What was left before is in the log of the flow run that left it.
    await logged(after.id, "visit 2: review, approve, to published")
    assert await logged(after.id, "visit 1:", lines=0) == []


async def test_a_flow_run_that_is_cancelled_while_it_is_paused_ends_and_leaves_the_machine(run_id: str):
    process = await run_in_a_process(run_id)
    paused = await asked_in((await named(f"review/{run_id}")).id, 2)
    async with get_client() as client:
        cancelling: State[Any] = Cancelling()
        await client.set_flow_run_state(paused.id, cancelling)

    await process.wait()

    assert (await until(paused.id, "Cancelled")).state_type is not None
    async with machine_of(run_id) as run:
        assert (await run.status()).phase == "waiting"


async def test_of_two_flow_runs_at_one_machine_one_is_answered_and_both_go_on(run_id: str):
    async with begun(review_flow, run_id) as (first_id, first):
        await asked_in(first_id, 2)
        async with begun(review_flow, run_id, besides=first_id) as (second_id, second):
            await asked_in(second_id, 2)
            await answer(second_id, event="approve", who="ann", payload={"level": 2})

    assert first.result().is_completed()
    assert second.result().is_completed()
    assert await history_of(run_id) == [("draft", "succeeded", ""), ("review", "approve", "ann")]
    assert len(bills()) == 1


async def test_a_pause_outlasts_a_server_that_is_away(run_id: str, monkeypatch: pytest.MonkeyPatch):
    away = 3

    class Flaky(PrefectClient):
        async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
            nonlocal away
            if away:
                away -= 1
                raise ConnectError("no server")
            return await super().read_flow_run(flow_run_id)

    monkeypatch.setattr(standstill, "get_client", lambda: Flaky(os.environ["PREFECT_API_URL"]))
    async with begun(review_flow, run_id) as (flow_run_id, running):
        await asked_in(flow_run_id, 2)
        await logged(flow_run_id, "server is away")
        await answer(flow_run_id, event="approve", payload={"level": 2})

    assert running.result().is_completed()
    assert away == 0


async def test_a_machine_without_a_journal_is_refused(tmp_path: Path):
    unkept = machine_to_flow(review, team=TEAM, store=CoterieStore(url=f"sqlite://{tmp_path}/a.db", journal="off"))

    with pytest.raises(PolicyError, match="needs a journal"):
        await unkept()


async def test_a_flow_run_that_prefect_could_not_start_again_is_not_suspended():
    suspending = machine_to_flow(review, team=TEAM, person="suspend")

    with pytest.raises(PolicyError, match="has no deployment"):
        await suspending()


async def test_a_machine_that_is_over_says_so_and_does_nothing(run_id: str):
    async with begun(review_flow, run_id) as (flow_run_id, _):
        await asked_in(flow_run_id, 2)
        await answer(flow_run_id, event="approve", payload={"level": 2})

    state = await review_flow(coterie_run_id=run_id, return_state=True)

    assert state.is_completed()
    assert len(bills()) == 1
