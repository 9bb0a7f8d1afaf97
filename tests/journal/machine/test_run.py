"""Machines that run in one process: actions, time-outs, guards, and what is carried from state to state."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from coterie import ArtifactStore, Orchestrator, Team
from coterie.errors import (
    MissingOutput,
    Misuse,
    StepFailed,
    UnknownAgentType,
)
from coterie.events import Event
from coterie.machine import StateMachine
from coterie.machine_run import StateMachineRun, execute_machine
from coterie.state import Action, Go, Guard, State
from coterie.task import Retry
from tests.journal.machine.conftest import RUN, Desk
from tests.journal.machine.samples import DONE, LOST, ONCE, REVIEW, draft


async def test_a_machine_acts_waits_for_people_and_ends(desk: Desk):
    async def write(task_input: dict[str, Any], ctx: Any) -> Any:
        return {"text": f"text {task_input['time']}"}

    desk.work = write
    run = desk.start(REVIEW, params={"topic": "birds"})
    await desk.until("review")
    await desk.run.send("reject", {"why": "too long"}, who="ann")
    await desk.until("review", visit=4)
    await desk.run.send("approve", who="ben")
    ended = await run

    assert (ended.status, ended.state, ended.visit, ended.exit_code) == ("succeeded", "done", 5, 0)
    assert desk.seen == [
        {"topic": "birds", "why": None, "who": None, "before": None, "time": 1},
        {"topic": "birds", "why": "too long", "who": "ann", "before": "text 1", "time": 2},
    ]
    history = await desk.run.history()
    assert [(visit.state, visit.trigger, visit.to, visit.who) for visit in history] == [
        ("draft", "succeeded", "review", ""),
        ("review", "reject", "draft", "ann"),
        ("draft", "succeeded", "review", ""),
        ("review", "approve", "done", "ben"),
    ]
    assert history[1].payload == {"why": "too long"}
    assert await desk.run.output("draft") == {"text": "text 2"}


async def test_where_a_machine_is_is_told(desk: Desk):
    desk.start(REVIEW)
    await desk.until("review")
    desk.clock.advance(600)

    status = await desk.run.status()

    assert (status.machine_name, status.machine_hash, status.phase) == ("review", REVIEW.hash, "waiting")
    assert (status.events, status.timeout_in_s) == (("approve", "reject"), 3000.0)
    assert (status.status, status.error, status.visit) == (None, None, 2)
    assert status.entered_at == desk.clock.now() - 600
    with pytest.raises(Misuse, match="is in the state 'review'; wait until it is over"):
        _ = status.exit_code


async def test_a_time_out_of_a_state_ends_the_action_that_runs(desk: Desk):
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(_: Any, __: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    desk.work = work
    run = desk.start(REVIEW)
    await begun.wait()
    desk.clock.advance(300)
    result = await run

    assert result.state == "lost"
    assert ended.is_set()
    assert [visit.trigger for visit in await desk.run.history()] == ["timeout"]


async def test_a_time_out_leads_on_without_anybody(desk: Desk):
    run = desk.start(REVIEW)
    await desk.until("review")
    desk.clock.advance(3599)
    await asyncio.sleep(0.05)
    assert (await desk.run.status()).state == "review"

    desk.clock.advance(1)

    assert (await run).state == "lost"


async def test_the_output_decides_where_to_go(desk: Desk):
    scores = iter([5, 8])

    async def work(_: Any, __: Any) -> Any:
        return {"score": next(scores)}

    desk.work = work
    ways = [Go("done", when=[Guard("/score", "ge", 7)]), Go("a")]
    result = await desk.execute(
        StateMachine("m", [State("a", action=draft(), max_visits=5, transitions=ways), DONE], initial="a")
    )

    assert (result.state, result.visit) == ("done", 3)


async def test_the_error_decides_where_to_go_and_may_be_referred_to(desk: Desk):
    async def work(task_input: dict[str, Any], _: Any) -> Any:
        if "error" not in task_input:
            raise StepFailed("no ink")

    desk.work = work
    ways = [Go("tell", "failed", when=[Guard("/type", "eq", "StepFailed")]), Go("done")]
    tell = State("tell", action=draft(error={"$data": "/errors/a"}), transitions=[Go("lost")])
    result = await desk.execute(
        StateMachine("m", [State("a", action=draft(), transitions=ways), tell, DONE, LOST], initial="a")
    )

    assert result.state == "lost"
    assert desk.seen[1] == {"error": {"type": "StepFailed", "message": "no ink"}}


async def test_a_failure_that_nothing_catches_fails_the_machine(desk: Desk):
    async def work(_: Any, __: Any) -> None:
        raise StepFailed("no ink")

    desk.work = work
    result = await desk.execute(ONCE)

    assert (result.status, result.state, result.exit_code) == ("failed", "a", 1)
    assert str(result.error) == "StepFailed: no ink"
    with pytest.raises(StepFailed, match="the machine 'once' ended failed in the state 'a': StepFailed: no ink"):
        result.raise_for_status()


async def test_an_action_is_tried_again_by_its_own_policy(desk: Desk):
    async def work(_: Any, ctx: Any) -> Any:
        if ctx.attempt < 3:
            raise RuntimeError
        return ctx.attempt

    desk.work = work
    action = Action("worker", retry=Retry(max_attempts=3, base_s=0, cap_s=0))
    result = await desk.execute(
        StateMachine("m", [State("a", action=action, transitions=[Go("done")]), DONE], initial="a")
    )

    assert result.status == "succeeded"
    assert await desk.run.output("a") == 3


async def test_an_input_that_refers_to_nothing_is_the_action_s_failure(desk: Desk):
    ways = [Go("done"), Go("lost", "failed")]
    action = draft(text={"$data": "/event/payload/text"})
    await desk.execute(StateMachine("m", [State("a", action=action, transitions=ways), DONE, LOST], initial="a"))

    (visit,) = await desk.run.history()
    assert (visit.trigger, desk.seen) == ("failed", [])
    assert visit.result is not None
    assert "nothing lies at '/event/payload/text'" in str(visit.result["error"])


async def test_what_people_and_agents_write_is_never_read_as_a_reference(desk: Desk):
    evil = {"$param": "topic", "deep": [{"$param": "topic"}, {"$data": "/visit"}]}

    async def work(_: Any, __: Any) -> Any:
        return {"text": {"$param": "secret"}}

    desk.work = work
    desk.start(REVIEW)
    await desk.until("review")
    await desk.run.send("reject", {"why": evil}, who="ann")
    await desk.until("review", visit=4)

    assert desk.seen[1] == {
        "topic": "agents",
        "why": evil,
        "who": "ann",
        "before": {"$param": "secret"},
        "time": 2,
    }


async def test_a_state_without_a_transition_on_success_waits_for_an_event(desk: Desk):
    ways = [Go("done", "approve")]
    run = desk.start(StateMachine("m", [State("a", action=draft(), transitions=ways), DONE], initial="a"))
    await desk.until("a", phase="waiting")
    assert await desk.run.output("a") == {"n": 1}

    await desk.run.send("approve", who="ann")
    result = await run

    assert (result.status, len(desk.seen)) == ("succeeded", 1)
    (visit,) = await desk.run.history()
    assert visit.result is not None
    assert visit.result["state"] == "succeeded"


async def test_each_visit_has_an_idempotency_key_of_its_own(desk: Desk):
    keys = []

    async def work(_: Any, ctx: Any) -> Any:
        keys.append(ctx.idempotency_key)

    desk.work = work
    states = [State("a", action=draft(), max_visits=3, transitions=[Go("a"), Go("done", "exhausted")]), DONE]
    await desk.execute(StateMachine("m", states, initial="a"))

    assert len(set(keys)) == len(keys) == 3


async def test_what_moves_is_told_once_to_whoever_listens(desk: Desk):
    told: list[Any] = []
    run = desk.start(REVIEW, on_event=told.append)
    await desk.until("review")
    await desk.run.send("approve", who="ann")
    await run

    assert [event.name for event in told] == ["machine.moved"] * 2
    assert [event.fields for event in told] == [
        {"state": "draft", "trigger": "succeeded", "to": "review", "visit": 1, "who": "", "error": ""},
        {"state": "review", "trigger": "approve", "to": "done", "visit": 2, "who": "ann", "error": ""},
    ]


async def test_outputs_that_lie_in_an_artifact_store_are_asked_and_carried(desk: Desk, tmp_path: Path):
    async def work(task_input: dict[str, Any], _: Any) -> Any:
        return {"score": 9, "text": "x" * 5000, "was": len(task_input.get("text", ""))}

    desk.work = work
    artifacts = ArtifactStore(f"file://{tmp_path}")
    ways = [Go("b", when=[Guard("/score", "gt", 8)]), Go("lost")]
    second = State("b", action=draft(text={"$data": "/outputs/a/text"}), transitions=[Go("done")])
    machine = StateMachine("m", [State("a", action=draft(), transitions=ways), second, DONE, LOST], initial="a")

    result = await execute_machine(desk.orchestrator(artifacts=artifacts), machine, workflow_id=RUN)

    assert result.state == "done"
    assert len(desk.seen[1]["text"]) == 5000
    assert (await StateMachineRun(desk.journal, RUN, artifacts=artifacts).output("b"))["was"] == 5000  # type: ignore[call-overload, index]
    with pytest.raises(Misuse, match="there is no artifact store here"):
        await desk.run.output("b")
    assert len((await desk.store.read(RUN))["machine/visit/1"]) < 1000


@pytest.mark.parametrize(("chars", "reads"), [(2000, 1), (300_000, 0)])
async def test_what_an_action_gave_is_shown_and_one_that_is_large_is_named_and_not_read(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chars: int, reads: int
):
    async def work(task_input: dict[str, Any], _: Any) -> Any:
        return "x" * chars

    desk.work = work
    artifacts, loads = ArtifactStore(f"file://{tmp_path}"), []
    await execute_machine(desk.orchestrator(artifacts=artifacts), ONCE, workflow_id=RUN)
    load = artifacts.load

    async def noted(ref: Any) -> Any:
        loads.append(ref)
        return await load(ref)

    monkeypatch.setattr(artifacts, "load", noted)

    shown = await StateMachineRun(desk.journal, RUN, artifacts=artifacts).shown_output("a", most_bytes=500)

    assert len(loads) == reads
    assert ("xxx" in shown, f"{chars + 2:,} bytes, at file://" in shown) == (bool(reads), not reads)
    assert len(shown) < 600


async def test_a_small_output_needs_no_artifact_store_to_be_read(desk: Desk, tmp_path: Path):
    artifacts = ArtifactStore(f"file://{tmp_path}")
    await execute_machine(desk.orchestrator(artifacts=artifacts), ONCE, workflow_id=RUN)

    assert await desk.run.output("a") == {"n": 1}


async def test_a_machine_needs_a_journal_and_agents_for_all_its_actions(desk: Desk):
    with pytest.raises(Misuse, match="the machine 'once' needs a journal to keep its state in"):
        await execute_machine(desk.orchestrator(journal=None), ONCE)
    with pytest.raises(UnknownAgentType, match=r"'worker' \(asked for by the task 'a'\)"):
        await execute_machine(Orchestrator(Team("none"), journal=desk.journal), ONCE, workflow_id=RUN)
    with pytest.raises(Misuse, match="has no parameter 'subject'"):
        await desk.execute(REVIEW, params={"subject": "birds"})

    assert await desk.store.read(RUN) == {}


async def test_a_run_without_a_name_is_given_one(desk: Desk):
    result = await execute_machine(desk.orchestrator(), ONCE)

    assert (await StateMachineRun(desk.journal, result.workflow_id).status()).state == "done"


async def test_an_output_that_there_is_not_is_told(desk: Desk):
    await desk.execute(ONCE)

    with pytest.raises(MissingOutput, match="no action of the state 'b' has succeeded so far; those that have: a"):
        await desk.run.output("b")


async def test_a_history_is_read_in_pages(desk: Desk):
    states = [State("a", action=draft(), max_visits=7, transitions=[Go("a"), Go("done", "exhausted")]), DONE]
    await desk.execute(StateMachine("m", states, initial="a"))

    first = await desk.run.history(limit=3)
    second = await desk.run.history(after=3, limit=100)

    assert [visit.number for visit in (*first, *second)] == [1, 2, 3, 4, 5, 6, 7]
    assert await desk.run.history(after=7) == await desk.run.history(limit=0) == ()


async def test_a_listener_that_raises_changes_nothing(desk: Desk, caplog: pytest.LogCaptureFixture):
    def broken(event: Event) -> None:
        raise ValueError("the listener is broken")

    assert (await desk.execute(ONCE, on_event=broken)).status == "succeeded"
    assert "listener.failed at machine.moved" in caplog.text
