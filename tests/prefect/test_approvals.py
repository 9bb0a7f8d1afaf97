"""Tasks that a person decides, in flow runs: asked when nothing else can run, answered once, never asked again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx import ConnectError
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State

from coterie import Approval, Approvals, ArtifactStore, Decision, Plan, Ref, Task, TaskResult, WorkflowResult
from coterie.errors import PolicyError
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store
from prefect_coterie import plan_to_flow
from prefect_coterie.people import inquiry, standstill
from tests.prefect import billed
from tests.prefect.asking import TEAM, finished, publishing, publishing_flow, two_signatures_flow
from tests.prefect.billed import bills
from tests.prefect.people import answer, begun, coterie, named, question, until
from tests.prefect.runs import eventually, flow_run, logged, task_runs

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("informed")]

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(billed.FOLDER, str(tmp_path))
    monkeypatch.setenv("COTERIE_ARTIFACTS", f"file://{tmp_path}/artifacts")
    return tmp_path


@pytest.fixture
def run_id() -> str:
    return f"asking.{uuid.uuid4()}"


@asynccontextmanager
async def approvals() -> AsyncIterator[Approvals]:
    """As any other process sees them."""
    journal = Journal(open_journal_store(None, "default"))
    try:
        yield Approvals(journal)
    finally:
        await journal.aclose()


async def result_of(state: State[Any], ledger: Path) -> WorkflowResult:
    data = await state.aresult(raise_on_failure=False)
    found = await ArtifactStore(f"file://{ledger}/artifacts").load(Ref.deserialize(data["stored"]))
    return WorkflowResult.from_dict(found)


async def output_of(result: TaskResult, ledger: Path) -> Any:
    assert isinstance(result.output, Ref)
    return await ArtifactStore(f"file://{ledger}/artifacts").load(result.output)


def paid() -> list[str]:
    return sorted(task for task, _ in bills())


async def test_a_person_decides_by_the_form_of_the_flow_run(run_id: str, ledger: Path):
    async with begun(publishing_flow, run_id) as (flow_run_id, running):
        form, text = await question(await until(flow_run_id, "Paused"))
        assert paid() == ["draft"]
        await answer(flow_run_id, choice="approve", who="ann", note="well done", values={"copies": 3})

    result = await result_of(running.result(), ledger)
    assert result.status == "succeeded"
    decision = Decision.from_dict(await output_of(result["sign-off"], ledger))
    assert replace(decision, at=0) == Decision("approve", "ann", 0, "well done", {"copies": 3, "format": "pdf"})
    assert paid() == ["draft", "send"]
    assert form["required"] == ["choice", "who"]
    assert form["properties"]["choice"]["enum"] == ["approve", "reject"]
    assert "Publish \\*this\\*?" in text
    assert "the draft" in text
    await logged(flow_run_id, "sign-off asks a person: Publish *this*?")
    await logged(flow_run_id, "sign-off is decided: 'ann' chose 'approve'")
    runs = await task_runs(flow_run_id, {"draft", "sign-off", "send"})
    assert all(one.state is not None and one.state.is_completed() for one in runs.values())


async def test_a_program_answers_as_the_how_to_shows(run_id: str, ledger: Path):
    page = (REPOSITORY / "docs" / "how-to" / "run-on-prefect.md").read_text()
    (shown,) = re.findall(r"```python\n(# approve\.py\n.*?)```", page, re.DOTALL)
    asking = plan_to_flow(Plan("shown", [Task("ask", "editor", approval=Approval("Go on?"))]), team=TEAM, poll_s=0.2)
    async with begun(asking, run_id) as (flow_run_id, running):
        await until(flow_run_id, "Paused")
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", shown, str(flow_run_id))
        assert await process.wait() == 0

    decision = Decision.from_dict(await output_of((await result_of(running.result(), ledger))["ask"], ledger))
    assert replace(decision, at=0) == Decision("approve", "ann", 0, "well done", {})


async def test_whoever_rejects_fails_the_task_and_what_depends_on_it(run_id: str, ledger: Path):
    async with begun(publishing_flow, run_id) as (flow_run_id, running):
        await until(flow_run_id, "Paused")
        await answer(flow_run_id, choice="reject", who="ben", note="too long")

    result = await result_of(running.result(), ledger)
    rejected = result["sign-off"]
    assert rejected.error is not None
    assert rejected.error.type == "ApprovalRejected"
    assert "'ben'" in rejected.error.message
    assert "too long" in rejected.error.message
    assert result["send"].state == "upstream_failed"
    assert paid() == ["draft"]


async def test_what_lacks_is_asked_for_again_and_the_form_says_so(run_id: str):
    async with begun(publishing_flow, run_id) as (flow_run_id, running):
        shown = await until(flow_run_id, "Paused")
        await answer(flow_run_id, choice="approve", who="ann")
        _, text = await question(await until(flow_run_id, "Paused", besides=shown.state_id))
        await answer(flow_run_id, choice="approve", who="ann", values={"copies": 1, "format": "html"})

    assert running.result().is_completed()
    assert "The last answer was not taken" in text
    assert "copies" in text


async def test_several_are_asked_one_after_another_once_nothing_else_can_run(run_id: str):
    async with begun(two_signatures_flow, run_id) as (flow_run_id, running):
        asked = []
        for nth in range(2):
            shown = await until(flow_run_id, "Paused")
            _, text = await question(shown)
            asked.append("legal" if "legal" in text else "style")
            assert sorted(finished()) == sorted(["aside", "aside-too", *(f"after-{one}" for one in asked[:nth])])
            await answer(flow_run_id, choice="approve", who="ann")
            await eventually(lambda: flow_run(flow_run_id), lambda run, before=shown: run.state_id != before.state_id)

    assert sorted(asked) == ["legal", "style"]
    assert running.result().is_completed()
    assert paid() == ["after-legal", "after-style", "aside", "aside-too"]


async def test_an_answer_from_the_command_line_ends_the_pause_and_the_second_is_told(run_id: str, ledger: Path):
    async with begun(publishing_flow, run_id) as (flow_run_id, running):
        await until(flow_run_id, "Paused")
        shown = await coterie("approvals", "list", "--run", run_id, "--json")
        taken = await coterie("approve", run_id, "sign-off", "--by", "cleo", "--set", "copies=2")
        assert taken.code == 0, taken.output
        second = await coterie("reject", run_id, "sign-off", "--by", "dan")

    (pending,) = json.loads(shown.output)["approvals"]
    assert pending["place"] == "prefect"
    assert str(flow_run_id) in pending["where"]
    assert second.code != 0
    assert "cleo" in second.output
    result = await result_of(running.result(), ledger)
    assert (await output_of(result["sign-off"], ledger))["by"] == "cleo"


async def test_what_the_command_line_answers_lets_others_begin_while_the_flow_run_is_paused(run_id: str):
    async with begun(two_signatures_flow, run_id) as (flow_run_id, _):
        _, text = await question(await until(flow_run_id, "Paused"))
        shown, other = ("legal", "style") if "legal" in text else ("style", "legal")
        async with approvals() as there:
            await there.answer(run_id, other, "approve", by="cleo")

        async def begun_after() -> bool:
            return f"after-{other}" in paid()

        await eventually(begun_after, bool)
        assert f"after-{shown}" not in paid()
        await answer(flow_run_id, choice="approve", who="ann")


async def test_a_pause_that_is_settled_before_the_server_says_that_it_is_one_is_left(
    run_id: str, monkeypatch: pytest.MonkeyPatch
):
    texts = told_late_that_it_is_paused(monkeypatch)
    async with begun(two_signatures_flow, run_id) as (flow_run_id, running):
        shown = await unanswerable(flow_run_id)
        async with approvals() as there:
            await there.answer(run_id, "legal" if "legal" in texts[0] else "style", "approve", by="cleo")
        await until(flow_run_id, "Paused", besides=shown.state_id)
        await answer(flow_run_id, choice="approve", who="ann")

    assert running.result().is_completed()


async def test_an_answer_before_the_form_is_shown_is_taken_or_refused_and_never_lost(
    run_id: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
):
    told_late_that_it_is_paused(monkeypatch)
    given: dict[str, Any] = {"choice": "approve", "who": "ann", "values": {"copies": 3}}
    async with begun(publishing_flow, run_id) as (flow_run_id, running):
        await unanswerable(flow_run_id)
        try:
            await answer(flow_run_id, **given)
        except RuntimeError:
            # Whoever gave it is told, and gives it again.
            await until(flow_run_id, "Paused")
            await answer(flow_run_id, **given)

    result = await result_of(running.result(), ledger)
    assert (await output_of(result["sign-off"], ledger))["by"] == "ann"
    assert paid() == ["draft", "send"]


async def test_a_form_is_shown_though_the_server_is_away_when_the_flow_run_has_just_been_paused(
    run_id: str, monkeypatch: pytest.MonkeyPatch
):
    away = 2

    class Away(PrefectClient):
        async def create_flow_run_input(self, *arguments: Any, **more: Any) -> None:
            nonlocal away
            if away:
                away -= 1
                raise ConnectError("no server")
            await super().create_flow_run_input(*arguments, **more)

    monkeypatch.setattr(standstill, "get_client", lambda: Away(os.environ["PREFECT_API_URL"]))
    async with begun(publishing_flow, run_id) as (flow_run_id, running):
        await logged(flow_run_id, "server is away")
        await until(flow_run_id, "Paused")
        await answer(flow_run_id, choice="approve", who="ann", values={"copies": 3})

    assert running.result().is_completed()
    assert away == 0


def told_late_that_it_is_paused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The flow learns of its first pause 3 s after the server. The texts that it shows."""
    slow, texts = [3.0], []

    class Slow(PrefectClient):
        async def set_flow_run_state(self, flow_run_id: UUID | str, state: State[Any], force: bool = False) -> Any:
            answer = await super().set_flow_run_state(flow_run_id, state, force)
            if state.is_paused() and slow:
                await asyncio.sleep(slow.pop())
            return answer

        async def create_flow_run_input(self, flow_run_id: UUID, key: str, value: str, sender: Any = None) -> None:
            if key.endswith("-description"):
                texts.append(json.loads(value))
            await super().create_flow_run_input(flow_run_id, key, value, sender)

    for module in (inquiry, standstill):
        monkeypatch.setattr(module, "get_client", lambda: Slow(os.environ["PREFECT_API_URL"]))
    return texts


async def unanswerable(flow_run_id: UUID) -> FlowRun:
    """The flow run, once it is paused, whether or not it has its form."""
    return await eventually(lambda: flow_run(flow_run_id), lambda run: run.state_name == "Paused")


async def test_an_answer_by_the_form_after_one_by_the_command_line_is_refused_and_says_so(run_id: str, ledger: Path):
    slow = plan_to_flow(publishing, team=TEAM, name="slow-publishing", poll_s=3.0)
    async with begun(slow, run_id) as (flow_run_id, running):
        await until(flow_run_id, "Paused")
        await answer(flow_run_id, choice="reject", who="too-late")
        async with approvals() as there:
            await there.answer(run_id, "sign-off", "approve", by="cleo", values={"copies": 2})

    result = await result_of(running.result(), ledger)
    assert (await output_of(result["sign-off"], ledger))["by"] == "cleo"
    (line,) = await logged(flow_run_id, "too-late")
    assert "'cleo' had chosen 'approve' before" in line


@pytest.mark.parametrize(("on_timeout", "state"), [("approve", "succeeded"), (None, "failed")])
async def test_when_the_time_is_over_the_pause_ends(run_id: str, ledger: Path, on_timeout: str | None, state: str):
    asks = Approval("Go on?", timeout_s=2.0, on_timeout=on_timeout)
    timed = plan_to_flow(Plan("timed", [Task("ask", "editor", approval=asks)]), team=TEAM, poll_s=0.2)
    async with begun(timed, run_id) as (flow_run_id, running):
        _, text = await question(await until(flow_run_id, "Paused"))

    assert "It can be answered until" in text
    asked = (await result_of(running.result(), ledger))["ask"]
    assert asked.state == state
    if asked.error is not None:
        assert asked.error.type == "TaskTimedOut"
    else:
        assert (await output_of(asked, ledger))["by"] == "timeout"


async def test_those_who_may_answer_are_the_form_s_choices(run_id: str):
    named_ones = Approval("Go on?", assignees=["ann", "ben"])
    plan = plan_to_flow(Plan("assigned", [Task("ask", "editor", approval=named_ones)]), team=TEAM, poll_s=0.2)
    async with begun(plan, run_id) as (flow_run_id, _):
        form, _ = await question(await until(flow_run_id, "Paused"))
        with pytest.raises(RuntimeError):
            await answer(flow_run_id, choice="approve", who="mallory")
        await answer(flow_run_id, choice="approve", who="ann")

    assert form["properties"]["who"]["enum"] == ["ann", "ben"]


async def test_a_flow_that_was_killed_while_it_was_paused_asks_the_same_again_and_nothing_is_paid_twice(run_id: str):
    program = (
        "import asyncio, sys\n"
        "from tests.prefect.asking import publishing_flow\n"
        "asyncio.run(publishing_flow(coterie_run_id=sys.argv[1]))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, run_id, cwd=REPOSITORY)
    before = await until((await named(f"publishing/{run_id}")).id, "Paused")
    process.kill()
    await process.wait()

    async with begun(publishing_flow, run_id, besides=before.id) as (flow_run_id, running):
        await until(flow_run_id, "Paused")
        await answer(flow_run_id, choice="approve", who="ann", values={"copies": 1})

    assert running.result().is_completed()
    assert paid() == ["draft", "send"]


async def test_what_was_decided_is_not_asked_again(run_id: str):
    async with begun(publishing_flow, run_id) as (flow_run_id, _):
        await until(flow_run_id, "Paused")
        await answer(flow_run_id, choice="approve", who="ann", values={"copies": 1})

    state = await publishing_flow(coterie_run_id=run_id, return_state=True)

    assert state.is_completed()
    assert paid() == ["draft", "send"]


async def test_a_flow_run_that_prefect_could_not_start_again_is_not_suspended():
    suspending = plan_to_flow(publishing, team=TEAM, approvals="suspend")

    with pytest.raises(PolicyError, match="has no deployment"):
        await suspending()

    assert bills() == []
