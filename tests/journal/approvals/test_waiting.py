"""A plan that waits for a person in this process: asked once, answered from anywhere, at any time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from coterie import Approval, Approvals, Compensation, Field, Orchestrator, Plan, Ref, Task, When, WorkflowResult
from coterie.artifacts import ArtifactStore
from coterie.errors import AlreadyDecided, Misuse, NotAsked, StaleToken, Unavailable
from coterie.journal import Intent, Journal
from coterie.journal.journal import status_text
from coterie.journal.listing import plan_of as plan_in
from coterie.journal.place import place_of
from coterie.journal.tending import forget_run, reap_runs
from coterie.journal.view import view_run
from coterie.stores.journal_memory import MemoryJournalStore
from tests.journal.approvals.conftest import PATIENCE_S, RUN, Desk, plan_of


async def test_the_decision_is_the_output(desk: Desk):
    running = desk.start(plan_of(Approval("Publish?", fields={"copies": Field("integer", default=3)})))
    await desk.asked()

    decision = await desk.people.answer(RUN, "sign-off", "approve", by="ann", note="well done", values={"copies": 5})

    result = await desk.ended(running)
    assert result.status == "succeeded"
    assert result["sign-off"].output == decision.to_dict()
    assert (decision.choice, decision.by, decision.note, decision.values) == (
        "approve",
        "ann",
        "well done",
        {"copies": 5},
    )
    assert desk.wrote == ["draft", "publish"]
    assert desk.told("approval.asked") == [{"question": "Publish?", "place": "process"}]
    assert desk.told("approval.decided") == [{"choice": "approve", "by": "ann"}]


async def test_a_rejection_fails_the_task_for_good_and_says_who_when_and_why(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()

    await desk.people.answer(RUN, "sign-off", "reject", by="ann", note="too long")

    result = await desk.ended(running)
    assert [task.state for task in result] == ["succeeded", "failed", "upstream_failed"]
    error = result["sign-off"].error
    assert error is not None
    assert error.type == "ApprovalRejected"
    assert all(part in error.message for part in ("'ann'", "'reject'", "UTC", "too long"))


async def test_what_is_asked_about_is_shown(desk: Desk):
    desk.text = "the draft\n```\nis \x1b[31mred"
    running = desk.start(plan_of(input={"urgent": True}))

    asked = await desk.asked()

    assert '"urgent": true' in asked.body
    assert "the draft" in asked.body
    assert "\x1b" not in asked.body
    # The block is fenced by more than the output can close.
    assert "````text" in asked.body
    assert len(asked.body.encode()) <= 16 * 2**10
    await desk.dies(running)


async def test_a_large_context_is_bounded(desk: Desk):
    tasks = [Task(f"t{number}-{'x' * 100}", "writer") for number in range(100)]
    desk.text = "`é" * 50_000
    asks = Task(
        "ask", "editor", input={"long": "é" * 9000}, depends_on=tuple(task.id for task in tasks), approval=Approval("?")
    )
    running = desk.start(Plan("wide", [*tasks, asks]))

    asked = await desk.asked()

    assert len(asked.body.encode()) <= 16 * 2**10
    assert "70 tasks more" in asked.body
    await desk.dies(running)


async def test_nobody_has_a_slot_meanwhile(desk: Desk):
    """The role is called as an agent type of the team; the agent is free for others all the time."""
    plan = Plan("one", [Task("ask", "writer", approval=Approval("?")), Task("draft", "writer")])
    orchestrator = desk.orchestrator()
    running = asyncio.create_task(orchestrator.execute_workflow(plan, workflow_id=RUN))
    desk.running.append(running)
    await desk.asked()
    await desk.until(lambda: desk.wrote == ["draft"])

    status = orchestrator.get_status()

    assert [agent.in_use for agent in status.agents] == [0] * len(status.agents)
    assert dict(status.waiting) == {}


async def test_a_false_condition_asks_nobody(desk: Desk):
    result = await desk.ended(desk.start(plan_of(when=When("draft", "/text", "eq", "something else"))))

    assert [task.state for task in result] == ["succeeded", "skipped", "skipped"]
    assert desk.told("approval.asked") == []


async def test_without_a_journal_it_is_refused_before_anything_runs(desk: Desk):
    with pytest.raises(Misuse, match="sign-off"):
        await desk.orchestrator(journal=None).execute_workflow(plan_of())
    assert desk.wrote == []


async def test_a_task_that_asks_is_not_executed_alone(desk: Desk):
    with pytest.raises(Misuse, match="ask and decide"):
        await desk.orchestrator().execute_task(plan_of().task("sign-off"))


async def test_the_first_of_two_people_decides_and_the_second_is_told_by_whom(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()

    answers = [
        desk.people.answer(RUN, "sign-off", choice, by=by) for choice, by in (("approve", "ann"), ("reject", "bob"))
    ]
    first, second = await asyncio.gather(*answers, return_exceptions=True)

    assert not isinstance(first, BaseException)
    assert isinstance(second, AlreadyDecided)
    assert "'ann'" in str(second)
    assert second.decision == first.to_dict()
    assert (await desk.ended(running)).status == "succeeded"


async def test_an_answer_given_twice_is_given_once(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()

    first = await desk.people.answer(RUN, "sign-off", "approve", by="ann", note="ok")
    await desk.ended(running)

    assert await desk.people.answer(RUN, "sign-off", "approve", by="ann", note="ok") == first
    with pytest.raises(AlreadyDecided):
        await desk.people.answer(RUN, "sign-off", "approve", by="ann", note="really")


async def test_an_answer_that_comes_while_no_process_is_there_is_taken_by_the_next(desk: Desk):
    await_answer = desk.start(plan_of())
    await desk.asked()
    await desk.dies(await_answer)

    decision = await desk.people.answer(RUN, "sign-off", "approve", by="ann")

    result = await desk.ended(desk.start(plan_of()))
    assert result.status == "succeeded"
    assert result["sign-off"].output == decision.to_dict()
    assert desk.wrote == ["draft", "publish"]
    # Nobody is told to answer what is answered.
    assert len(desk.told("approval.asked")) == 1
    assert len(desk.told("approval.decided")) == 1


async def test_a_decision_is_replayed_like_any_finished_task(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()
    await desk.people.answer(RUN, "sign-off", "approve", by="ann")
    await desk.ended(running)

    again = await desk.ended(desk.start(plan_of()))

    assert again["sign-off"].replayed
    assert len(desk.told("approval.asked")) == 1


async def test_a_decision_whose_output_is_gone_still_stands_and_nobody_is_asked_again(desk: Desk, tmp_path: Path):
    store, plan = ArtifactStore(f"file://{tmp_path}"), plan_of(after=False)

    def start() -> asyncio.Task[WorkflowResult]:
        running = asyncio.create_task(desk.orchestrator(artifacts=store).execute_workflow(plan, workflow_id=RUN))
        desk.running.append(running)
        return running

    running = start()
    await desk.asked()
    # Longer than what a reference carries itself.
    decision = await desk.people.answer(RUN, "sign-off", "approve", by="ann", note="well done " * 150)
    _delete((await desk.ended(running))["sign-off"].output)

    again = (await desk.ended(start()))["sign-off"].output

    assert isinstance(again, Ref)
    assert await store.load(again) == decision.to_dict()
    assert len(desk.told("approval.asked")) == 1


async def test_who_waits_again_waits_for_the_same_question_since_it_was_first_asked(desk: Desk):
    plan = plan_of(Approval("Publish?", timeout_s=100))
    first = desk.start(plan)
    before = await desk.asked()
    await desk.dies(first)
    desk.clock.advance(60)

    second = desk.start(plan)
    await desk.until(lambda: len(desk.told("approval.asked")) == 2)

    assert await desk.asked() == before
    desk.clock.advance(41)
    result = await desk.ended(second)
    assert result["sign-off"].error is not None
    assert result["sign-off"].error.type == "TaskTimedOut"
    assert "100 s" in result["sign-off"].error.message


@pytest.mark.parametrize(("choice", "state"), [("approve", "succeeded"), ("reject", "failed")])
async def test_when_the_time_is_over_a_choice_may_be_taken(desk: Desk, choice: str, state: str):
    approval = Approval("Publish?", timeout_s=10, on_timeout=choice, fields={"copies": Field("integer", default=3)})
    running = desk.start(plan_of(approval))
    await desk.asked()

    desk.clock.advance(11)

    result = await desk.ended(running)
    assert result["sign-off"].state == state
    assert desk.told("approval.decided") == [{"choice": choice, "by": "timeout"}]
    if state == "succeeded":
        output: Any = result["sign-off"].output
        assert (output["by"], output["values"]) == ("timeout", {"copies": 3})


async def test_an_answer_after_the_time_is_refused_whoever_looks_first(desk: Desk):
    running = desk.start(plan_of(Approval("Publish?", timeout_s=10)))
    await desk.asked()
    await desk.dies(running)
    desk.clock.advance(11)

    with pytest.raises(NotAsked, match="was over"):
        await desk.people.answer(RUN, "sign-off", "approve", by="ann")

    result = await desk.ended(desk.start(plan_of(Approval("Publish?", timeout_s=10))))
    assert result["sign-off"].state == "failed"
    with pytest.raises(NotAsked, match="was over"):
        await desk.people.answer(RUN, "sign-off", "approve", by="ann")


async def test_a_person_who_goes_on_with_a_rejected_run_is_asked_again(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()
    await desk.people.answer(RUN, "sign-off", "reject", by="ann")
    await desk.ended(running)

    running = desk.start(plan_of(), intent=Intent(goes_on=True))
    await desk.asked()
    await desk.people.answer(RUN, "sign-off", "reject", by="bob")
    assert (await desk.ended(running))["sign-off"].state == "failed"

    running = desk.start(plan_of(), intent=Intent(goes_on=True))
    await desk.asked()
    await desk.people.answer(RUN, "sign-off", "approve", by="cec")
    result = await desk.ended(running)

    assert result.status == "succeeded"
    assert result["sign-off"].attempts == 3
    assert desk.wrote == ["draft", "publish"]


async def test_without_such_a_wish_the_rejection_stands(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()
    await desk.people.answer(RUN, "sign-off", "reject", by="ann")
    await desk.ended(running)

    result = await desk.ended(desk.start(plan_of()))

    assert result["sign-off"].replayed
    assert result["sign-off"].state == "failed"


async def test_what_has_changed_since_is_asked_anew(desk: Desk):
    """Approved is what was seen: another draft is another question."""
    running = desk.start(plan_of())
    await desk.asked()
    await desk.people.answer(RUN, "sign-off", "approve", by="ann")
    await desk.ended(running)
    desk.text = "something else"
    await forget_run(desk.journal, RUN, "draft")

    running = desk.start(plan_of())
    asked = await desk.asked()
    assert "something else" in asked.body
    await desk.people.answer(RUN, "sign-off", "reject", by="ann")

    assert (await desk.ended(running))["sign-off"].state == "failed"


@pytest.mark.parametrize("how", ["forgotten", "forced"])
async def test_a_person_may_have_it_asked_anew(desk: Desk, how: str):
    running = desk.start(plan_of())
    await desk.asked()
    await desk.people.answer(RUN, "sign-off", "approve", by="ann")
    await desk.ended(running)
    if how == "forgotten":
        await forget_run(desk.journal, RUN, "sign-off")

    running = desk.start(plan_of(), intent=Intent(force="again" if how == "forced" else None))
    await desk.asked()
    await desk.people.answer(RUN, "sign-off", "approve", by="bob")

    output: Any = (await desk.ended(running))["sign-off"].output
    assert output["by"] == "bob"


async def test_what_was_forgotten_while_it_waits_takes_no_answer_and_ends_the_run_that_waits(desk: Desk):
    running = desk.start(plan_of(after=False))
    await desk.asked()

    assert await desk.journal.forget(RUN, place_of("sign-off"))

    with pytest.raises(NotAsked):
        await desk.people.answer(RUN, "sign-off", "approve", by="ann")
    with pytest.raises(StaleToken, match=f"coterie runs resume {RUN}"):
        await desk.ended(running)


async def test_the_plan_may_ask_several_people_side_by_side_with_the_same_role(desk: Desk):
    """No input and one role: still each question is its own."""
    asks = [Task(f"ask-{name}", "editor", approval=Approval(f"{name}?")) for name in ("a", "b")]
    running = desk.start(Plan("two", asks))
    await desk.until(lambda: len(desk.told("approval.asked")) == 2)

    await desk.people.answer(RUN, "ask-b", "approve", by="bob")
    await desk.people.answer(RUN, "ask-a", "reject", by="ann")

    result = await desk.ended(running)
    assert (result["ask-a"].state, result["ask-b"].state) == ("failed", "succeeded")
    texts = await desk.store.read(RUN)
    assert len({texts[f"approval/ask-{name}"].partition('"fingerprint":"')[2][:32] for name in "ab"}) == 2


async def test_a_cancelled_run_leaves_the_question_open_for_those_who_resume_it(desk: Desk):
    orchestrator = desk.orchestrator()
    running = asyncio.create_task(orchestrator.execute_workflow(plan_of(), workflow_id=RUN))
    desk.running.append(running)
    await desk.asked()

    orchestrator.cancel(RUN)

    assert (await running).status == "cancelled"
    assert [one.task_id for one in await desk.people.pending()] == ["sign-off"]
    await desk.people.answer(RUN, "sign-off", "approve", by="ann")
    assert (await desk.ended(desk.start(plan_of()))).status == "succeeded"


async def test_a_rejection_undoes_what_the_saga_did(desk: Desk):
    tasks = [
        Task("book", "writer", compensation=Compensation("undoer")),
        Task("sign-off", "editor", depends_on=("book",), approval=Approval("Keep it?")),
    ]
    running = desk.start(Plan("trip", tasks))
    await desk.asked()

    await desk.people.answer(RUN, "sign-off", "reject", by="ann")

    result = await desk.ended(running)
    assert result.status == "failed"
    assert desk.wrote == ["book", "undo-book"]


async def test_nobody_is_asked_any_more_once_a_saga_is_to_be_undone(desk: Desk):
    tasks = [
        Task("book", "writer", compensation=Compensation("undoer")),
        Task("sign-off", "editor", depends_on=("book",), approval=Approval("Keep it?")),
        Task("break", "gate", depends_on=("book",)),
    ]
    gate = asyncio.Event()
    orchestrator = desk.orchestrator()

    async def held(_: dict[str, Any]) -> None:
        await gate.wait()
        raise RuntimeError("broken")

    orchestrator.register_agent("g", "gate", handler=held)
    running = asyncio.create_task(orchestrator.execute_workflow(Plan("trip", tasks), workflow_id=RUN))
    desk.running.append(running)
    await desk.asked()

    gate.set()

    result = await desk.ended(running)
    assert result["sign-off"].state == "cancelled"
    assert desk.wrote == ["book", "undo-book"]
    assert await desk.people.pending() == await desk.people.pending(RUN) == []
    with pytest.raises(NotAsked, match="asks nothing now"):
        await desk.people.answer(RUN, "sign-off", "approve", by="ann")
    assert [one.run_over for one in await desk.people.of_run(RUN)] == [True]


async def test_a_shutdown_does_not_wait_for_people(desk: Desk):
    orchestrator = desk.orchestrator(graceful_shutdown_timeout_s=10_000.0)
    running = asyncio.create_task(orchestrator.execute_workflow(plan_of(), workflow_id=RUN))
    desk.running.append(running)
    await desk.asked()

    async with asyncio.timeout(PATIENCE_S):
        await orchestrator.shut_down()

    assert (await running).status == "cancelled"
    assert [one.task_id for one in await desk.people.pending(RUN)] == ["sign-off"]


async def test_a_run_that_was_given_up_for_lost_may_be_answered_and_gone_on_with(desk: Desk):
    first = desk.start(plan_of())
    await desk.asked()
    await desk.dies(first)
    await desk.store.write(RUN, {"status": status_text("lost", 0.0, "reap")})

    await desk.people.answer(RUN, "sign-off", "approve", by="ann")

    assert (await desk.ended(desk.start(plan_of()))).status == "succeeded"


async def test_what_waits_for_a_person_is_not_reaped(desk: Desk):
    first = desk.start(plan_of())
    await desk.asked()
    await desk.dies(first)
    desk.clock.advance(10_000)

    assert await reap_runs(desk.journal, idle_s=1.0) == []


async def test_an_answer_that_nobody_has_taken_so_far_can_be_taken_back(desk: Desk):
    first = desk.start(plan_of())
    await desk.asked()
    await desk.dies(first)
    await desk.people.answer(RUN, "sign-off", "approve", by="ann")

    assert await forget_run(desk.journal, RUN, "sign-off") == ["sign-off"]

    second = desk.start(plan_of())
    await desk.asked()
    await desk.people.answer(RUN, "sign-off", "reject", by="ann")
    assert (await desk.ended(second))["sign-off"].state == "failed"


async def test_a_question_that_was_forgotten_keeps_no_run_waiting(desk: Desk):
    first = desk.start(plan_of())
    await desk.asked()
    await desk.dies(first)
    assert (await view_run(desk.journal, RUN)).state == "waiting"

    await forget_run(desk.journal, RUN, "sign-off")

    assert (await view_run(desk.journal, RUN)).state == "interrupted"
    assert await desk.people.pending(RUN) == []


class Flaky(MemoryJournalStore):
    """A store that may be away for those who look."""

    away = False

    async def get(self, *args: Any) -> Any:
        if self.away:
            raise Unavailable("away")
        return await super().get(*args)


async def test_while_the_journal_is_away_it_is_waited_for():
    store = Flaky()
    desk = Desk(store)
    running = desk.start(plan_of())
    await desk.asked()

    store.away = True
    await asyncio.sleep(0.1)
    assert not running.done()
    store.away = False
    await desk.people.answer(RUN, "sign-off", "approve", by="ann")

    assert (await desk.ended(running)).status == "succeeded"


async def test_a_run_that_asks_stands_as_running_and_its_plan_comes_back_from_the_journal(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()

    view = await view_run(desk.journal, RUN)

    assert view.state == "running"
    kept = await plan_in(view.header, None)
    assert kept == plan_of()
    await desk.dies(running)


async def test_approvals_need_only_a_journal(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()

    await Approvals(Journal(desk.store)).answer(RUN, "sign-off", "approve", by="ann")

    assert (await desk.ended(running)).status == "succeeded"
    assert Orchestrator().keeping is None


def _delete(output: Any) -> None:
    assert isinstance(output, Ref)
    Path(output.uri.removeprefix("file://")).unlink()
