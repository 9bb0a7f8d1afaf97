"""What a scheduler's adapter does: ask, let go of everything, and come back with the decision."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie import Approval, Asked, Decision, Field, Plan, Task, TaskResult, When, sync_approvals
from coterie.approvals import Place
from coterie.errors import AskedElsewhere, ClaimedElsewhere, Misuse, NotAsked
from coterie.journal import Intent
from coterie.journal.place import place_of
from coterie.journal.tending import forget_run
from coterie.journal.view import view_run
from coterie.ref import Ref
from tests.journal.approvals.conftest import RUN, Desk, plan_of

AIRFLOW = Place("airflow", "https://airflow/dags/paper/runs/1")
PREFECT = Place("prefect")
# An output that no artifact store has.
NOWHERE = Ref("memory://nowhere/sha256/" + "0" * 64, "0" * 64, 9)


class Scheduler:
    """Performs the first task, and then has a person asked."""

    def __init__(self, desk: Desk, plan: Plan, *, text: str = "hello", journal: bool = True, run: str = RUN) -> None:
        self.orchestrator = desk.orchestrator() if journal else desk.orchestrator(journal=None)
        self.plan, self.run = plan, run
        self.upstream = {"draft": TaskResult("draft", "succeeded", {"text": text})}

    def options(self, **more: Any) -> dict[str, Any]:
        return {"plan": self.plan, "upstream": self.upstream, "workflow_id": self.run, **more}

    async def ask(self, place: Place = PREFECT, **more: Any) -> TaskResult | Asked:
        return await self.orchestrator.ask(self.plan.task("sign-off"), place=place, **self.options(**more))

    async def asked(self, place: Place = PREFECT, **more: Any) -> Asked:
        found = await self.ask(place, **more)
        assert isinstance(found, Asked)
        return found

    async def decide(self, decision: Decision | None, asked_id: str, **more: Any) -> TaskResult:
        return await self.orchestrator.decide(
            self.plan.task("sign-off"), decision, asked_id=asked_id, **self.options(**more)
        )


@pytest.fixture(params=[True, False], ids=["journal", "no-journal"])
def scheduler(desk: Desk, request: pytest.FixtureRequest) -> Scheduler:
    approval = Approval("Publish?", fields={"copies": Field("integer", default=3)}, timeout_s=100)
    return Scheduler(desk, plan_of(approval), journal=request.param)


async def test_a_question_is_put_and_its_answer_is_the_end_of_the_task(scheduler: Scheduler, desk: Desk):
    asked = await scheduler.asked()

    assert (asked.question, asked.role, asked.choices) == ("Publish?", "editor", ("approve", "reject"))
    assert asked.left_s == pytest.approx(100)
    assert "hello" in asked.body
    result = await scheduler.decide(Decision("approve", "ann", 1234.5, "ok", {"copies": 5}), asked.id)
    assert result.state == "succeeded"
    output = {"choice": "approve", "by": "ann", "at": 1234.5, "note": "ok", "values": {"copies": 5}}
    assert result.output == output
    assert desk.told("approval.asked") == [{"question": "Publish?", "place": "prefect"}]
    assert desk.told("approval.decided") == [{"choice": "approve", "by": "ann"}]


async def test_a_rejection_is_a_failure(scheduler: Scheduler):
    asked = await scheduler.asked()

    result = await scheduler.decide(Decision("reject", "ann", 0.0, "no"), asked.id)

    assert result.state == "failed"
    assert result.error is not None
    assert result.error.type == "ApprovalRejected"


async def test_when_the_scheduler_says_that_the_time_is_over_it_is(scheduler: Scheduler):
    asked = await scheduler.asked()

    result = await scheduler.decide(None, asked.id)

    assert result.error is not None
    assert result.error.type == "TaskTimedOut"


async def test_a_decision_that_may_not_be_given_changes_nothing(scheduler: Scheduler):
    asked = await scheduler.asked()

    for wrong in (
        Decision("maybe", "ann", 0.0),
        Decision("approve", "", 0.0),
        Decision("approve", "ann", 0.0, "x" * 2001),
        Decision("approve", "ann", 0.0, "", {"copies": "many"}),
    ):
        with pytest.raises(Misuse):
            await scheduler.decide(wrong, asked.id)

    assert (await scheduler.decide(Decision("approve", "ann", 0.0), asked.id)).state == "succeeded"


async def test_an_answer_to_something_else_is_refused(scheduler: Scheduler):
    asked = await scheduler.asked()
    scheduler.upstream = {"draft": TaskResult("draft", "succeeded", {"text": "another draft"})}
    await scheduler.asked()

    with pytest.raises(NotAsked):
        await scheduler.decide(Decision("approve", "ann", 0.0), asked.id)


async def test_a_false_condition_asks_nobody(desk: Desk):
    scheduler = Scheduler(desk, plan_of(when=When("draft", "/text", "eq", "x")))

    found = await scheduler.ask()

    assert isinstance(found, TaskResult)
    assert found.state == "skipped"


async def test_a_condition_that_cannot_be_read_is_the_task_s_failure(desk: Desk):
    scheduler = Scheduler(desk, plan_of(when=When("draft", "/text", "eq", "x")))
    scheduler.upstream = {"draft": TaskResult("draft", "succeeded", NOWHERE)}

    found = await scheduler.ask()

    assert isinstance(found, TaskResult)
    assert found.state == "failed"
    assert found.error is not None


async def test_asked_again_it_is_the_same_question(desk: Desk):
    scheduler = Scheduler(desk, plan_of(Approval("Publish?", timeout_s=100)))
    first = await scheduler.asked()
    desk.clock.advance(40)

    again = await Scheduler(desk, scheduler.plan).asked()

    assert (again.id, again.until) == (first.id, first.until)
    assert again.left_s == 60
    assert len(desk.told("approval.asked")) == 1


async def test_nobody_holds_the_task_while_a_person_thinks(desk: Desk):
    scheduler = Scheduler(desk, plan_of())
    await scheduler.asked()

    assert await desk.journal.held_s(RUN, place_of("sign-off")) == 0
    assert (await view_run(desk.journal, RUN)).state == "waiting"


async def test_however_often_it_is_decided_it_is_decided_once(desk: Desk):
    scheduler = Scheduler(desk, plan_of())
    asked = await scheduler.asked()
    decision = Decision("approve", "ann", 99.0)

    first = await scheduler.decide(decision, asked.id)
    again = await scheduler.decide(decision, asked.id)
    other = await scheduler.decide(Decision("reject", "bob", 98.0), asked.id)

    assert first.output == again.output == other.output
    assert [first.replayed, again.replayed, other.replayed] == [False, True, True]
    found = await scheduler.ask()
    assert isinstance(found, TaskResult)
    assert found.output == first.output


async def test_two_decisions_at_once_are_one(desk: Desk):
    scheduler = Scheduler(desk, plan_of())
    asked = await scheduler.asked()

    results = await asyncio.gather(
        scheduler.decide(Decision("approve", "ann", 1.0), asked.id),
        Scheduler(desk, scheduler.plan).decide(Decision("reject", "bob", 2.0), asked.id),
    )

    assert results[0].state == results[1].state


async def test_a_process_that_dies_between_the_answer_and_the_record_loses_nothing(desk: Desk):
    scheduler = Scheduler(desk, plan_of())
    asked = await scheduler.asked()
    # The answer stands, and whoever wrote it is gone.
    await desk.people.answer(RUN, "sign-off", "approve", by="ann")

    late = await scheduler.decide(Decision("reject", "bob", 5.0), asked.id)

    output: Any = late.output
    assert (late.state, output["by"]) == ("succeeded", "ann")


async def test_an_answer_by_the_command_line_is_found_when_it_is_looked_at_next(desk: Desk):
    scheduler = Scheduler(desk, plan_of())
    await scheduler.asked()
    decision = await desk.people.answer(RUN, "sign-off", "approve", by="ann")

    found = await scheduler.ask()

    assert isinstance(found, TaskResult)
    assert found.output == decision.to_dict()


async def test_what_airflow_asks_is_answered_there_or_anyway(desk: Desk):
    scheduler = Scheduler(desk, plan_of())
    await scheduler.asked(AIRFLOW)

    with pytest.raises(AskedElsewhere, match="https://airflow/dags/paper") as refused:
        await desk.people.answer(RUN, "sign-off", "approve", by="ann")
    assert (refused.value.place, refused.value.where) == ("airflow", AIRFLOW.where)
    await desk.people.answer(RUN, "sign-off", "approve", by="ann", anyway=True)

    found = await scheduler.ask(AIRFLOW)
    assert isinstance(found, TaskResult)
    assert found.state == "succeeded"


async def test_the_question_moves_with_the_run_from_one_engine_to_another(desk: Desk):
    first = await Scheduler(desk, plan_of()).asked(AIRFLOW, intent=Intent("airflow.paper.1"))
    second = await Scheduler(desk, plan_of()).asked(PREFECT, intent=Intent("prefect.1"))

    assert first.id == second.id
    (pending,) = await desk.people.pending()
    assert (pending.place, pending.by) == ("prefect", "prefect.1")
    running = desk.start(plan_of())
    await desk.until(lambda: len(desk.told("approval.asked")) == 2)
    await desk.people.answer(RUN, "sign-off", "approve", by="ann")
    assert (await desk.ended(running)).status == "succeeded"


async def test_a_clear_asks_again(desk: Desk):
    scheduler = Scheduler(desk, plan_of())
    asked = await scheduler.asked(intent=Intent("airflow.1"))
    await scheduler.decide(Decision("approve", "ann", 1.0), asked.id, intent=Intent("airflow.1"))
    await desk.journal.note_seen(RUN, place_of("sign-off"), Intent("airflow.1"))

    again = await scheduler.asked(intent=Intent("airflow.1", demand=1))

    assert again.id != asked.id
    with pytest.raises(NotAsked):
        await scheduler.decide(Decision("approve", "ann", 1.0), asked.id, intent=Intent("airflow.1", demand=1))
    await scheduler.decide(Decision("reject", "ann", 1.0), again.id, intent=Intent("airflow.1", demand=1))


async def test_what_was_forgotten_while_it_was_asked_takes_no_answer(desk: Desk):
    scheduler = Scheduler(desk, plan_of())
    asked = await scheduler.asked()
    assert await forget_run(desk.journal, RUN, "sign-off") == ["sign-off"]

    with pytest.raises(NotAsked):
        await desk.people.answer(RUN, "sign-off", "approve", by="ann")
    again = await scheduler.asked()
    assert again.id != asked.id


async def test_an_engine_that_runs_the_whole_keeps_schedulers_out(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("coterie.approvals.asking._PATIENCE_S", 0.0)
    running = desk.start(plan_of())
    await desk.asked()

    with pytest.raises(ClaimedElsewhere):
        await Scheduler(desk, plan_of()).ask()

    await desk.dies(running)


async def test_a_task_that_asks_nobody_is_refused(desk: Desk):
    with pytest.raises(Misuse, match="asks nobody"):
        await desk.orchestrator().ask(Task("draft", "writer"), place=PREFECT)


def test_a_place_that_is_none_is_refused():
    with pytest.raises(Misuse, match="process, airflow, prefect"):
        Place("dagster")  # type: ignore[arg-type]  # on purpose


def test_code_that_cannot_await_asks_and_decides_too():
    from coterie import sync
    from coterie.journal import Journal
    from coterie.stores.journal_memory import MemoryJournalStore

    async def made() -> Desk:
        return Desk(MemoryJournalStore())

    desk = sync.run(made())
    plan = Plan("one", [Task("ask", "editor", approval=Approval("Go?"))])
    orchestrator = desk.orchestrator()
    asked = sync_approvals.ask(orchestrator, plan.task("ask"), place=PREFECT, workflow_id=RUN, plan=plan)
    assert isinstance(asked, Asked)
    people = sync_approvals.Approvals(Journal(desk.store))
    assert [one.task_id for one in people.pending()] == ["ask"]

    decision = people.answer(RUN, "ask", "approve", by="ann")
    result = sync_approvals.decide(
        orchestrator, plan.task("ask"), Decision("reject", "bob", 1.0), asked_id=asked.id, workflow_id=RUN, plan=plan
    )

    assert result.output == decision.to_dict()
    assert [one.decision for one in people.of_run(RUN)] == [decision]
