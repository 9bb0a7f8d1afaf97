"""The timeline of runs that really happened, in journals of each kind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie import (
    Approval,
    Approvals,
    BreakerPolicy,
    Compensation,
    ForEach,
    Intent,
    Plan,
    Policies,
    Retry,
    Saga,
    Task,
    TaskContext,
    Usage,
    When,
)
from coterie._rules.journal_text import Record
from coterie.errors import UnknownRun
from coterie.journal import Journal
from coterie.journal.header import Header
from coterie.journal.place import place_of
from coterie.journal.view import view_run
from coterie.telemetry.identity import run_trace_id
from coterie.timeline import timeline_of
from tests.core.timeline.checks import checked
from tests.core.timeline.crew import FAST, RUN, Crew, failing, half_done, span_of, within, work


async def test_a_run_that_the_journal_does_not_know_is_an_error(journal: Journal):
    with pytest.raises(UnknownRun):
        await timeline_of(journal, "nothing")


async def test_tasks_lie_in_the_run_and_link_to_what_they_waited_for(journal: Journal):
    timeline = await Crew(journal).run(work("a"), work("b", "a"), work("c", "a", "b"))

    # When each began follows from when its end was written down, which may be a moment late: no order.
    assert {span.id for span in timeline.spans} == {"run", "task/a", "task/b", "task/c"}
    assert span_of(timeline, "task/c").links == ("task/a", "task/b")
    assert (timeline.state, timeline.is_over) == ("succeeded", True)
    assert {span.state for span in timeline.spans} == {"succeeded"}
    assert timeline.counts == (3, 3, 0, 0)
    assert timeline.notes == ()


async def test_attempts_that_failed_are_calls_with_their_errors(journal: Journal):
    timeline = await Crew(journal, a=failing(2)).run(work("a", retry=FAST))

    calls = [span for span in within(timeline, "task/a") if span.kind == "call"]
    assert [call.state for call in calls] == ["failed", "failed", "succeeded"]
    assert "ValueError: not yet 1" in str(calls[1].facts["error"])
    assert [span.kind for span in within(timeline, "task/a")].count("backoff") == 2
    assert span_of(timeline, "task/a").facts["attempts"] == 3


async def test_what_a_failure_kept_from_beginning_is_ahead_and_names_it(journal: Journal):
    timeline = await Crew(journal, a=ValueError("broken")).run(work("a"), work("b", "a"), work("c", "b"))

    assert [(one.task_id, one.because) for one in timeline.ahead] == [("b", "a"), ("c", "a")]
    assert span_of(timeline, "task/a").facts["error_message"] == "broken"


async def test_the_items_of_a_foreach_lie_in_its_task(journal: Journal):
    crew = Crew(journal, list=[1, 2, 3], each=_two_is_bad)
    each = ForEach(task="list", tolerate_failures=1)

    timeline = await crew.run(work("list"), work("each", foreach=each), work("end", "each"))

    whole, items = span_of(timeline, "task/each"), within(timeline, "task/each")
    assert (whole.state, whole.facts["items"], whole.facts["failed_items"]) == ("succeeded", 3, 1)
    assert sorted(str(item.state) for item in items) == ["failed", "succeeded", "succeeded"]
    assert sorted(item.name[:3] for item in items) == ["[0]", "[1]", "[2]"]
    assert whole.begun_us == min(item.begun_us for item in items)
    assert span_of(timeline, "task/end").links == ("task/each",)


async def test_a_foreach_with_too_many_failures_has_failed(journal: Journal):
    crew = Crew(journal, each=_two_is_bad)

    timeline = await crew.run(work("each", foreach=ForEach(items=[1, 2])), work("end", "each"))

    assert span_of(timeline, "task/each").state == "failed"
    assert [one.because for one in timeline.ahead] == ["each"]


async def test_a_foreach_of_which_some_items_have_ended_goes_on(journal: Journal):
    timeline = await half_done(journal)

    each = span_of(timeline, "task/each")
    assert (each.state, each.ended_us, each.facts["items"], each.facts["ended_items"]) == ("due", None, 2, 1)
    assert [span.id for span in timeline.going_on] == ["task/each"]


async def test_a_task_that_was_skipped_leaves_no_record_and_is_passed_over(journal: Journal):
    never = When("a", "", "eq", "what nobody says")

    timeline = await Crew(journal, a="said").run(
        work("a"), work("skipped", "a", when=never), work("end", "skipped", trigger_rule="all_done")
    )

    # It waited for nothing but what the skipped one waited for.
    assert span_of(timeline, "task/end").links == ("task/a",)
    assert timeline.ahead == ()


async def test_a_question_of_a_cancelled_run_ends_with_it(journal: Journal):
    crew = Crew(journal)
    plan = Plan("plan", [Task("ask", "boss", approval=Approval("Go on?"))])
    running = asyncio.create_task(crew.orchestrator().execute_workflow(plan, workflow_id=RUN))
    while not await Approvals(journal).pending():  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    await journal.conclude(RUN, "cancelled", by="local")

    timeline = await crew.timeline()

    assert (timeline.state, timeline.is_over) == ("cancelled", True)
    assert span_of(timeline, "task/ask?").ended_us is not None


async def test_where_somebody_has_answered_and_nobody_goes_on_the_run_waits_for_nobody_s_answer(journal: Journal):
    crew = Crew(journal)
    plan = Plan("plan", [Task("ask", "boss", approval=Approval("Go on?"))])
    running = asyncio.create_task(crew.orchestrator().execute_workflow(plan, workflow_id=RUN))
    while not await Approvals(journal).pending():  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    waiting = await crew.timeline()
    await Approvals(journal).answer(RUN, "ask", "approve", by="ann")

    answered = await crew.timeline()

    assert (waiting.state, span_of(waiting, "task/ask").state) == ("waiting", "asking")
    assert (answered.state, span_of(answered, "task/ask").state) == ("interrupted", "interrupted")
    assert span_of(answered, "task/ask").ended_us == span_of(answered, "task/ask?").ended_us
    assert (len(waiting.going_on), len(answered.going_on)) == (1, 0)


async def test_of_what_goes_on_the_longest_comes_first(journal: Journal):
    plan = Plan("plan", [work("a"), work("b", "a"), work("c")])
    await journal.begin(RUN, await _header(journal, plan), Intent("airflow.a.b"))
    for name in ("b", "c"):
        asked = journal.asked(Intent("airflow.a.b"), "fp", f"who does {name}")
        await journal.claim(RUN, place_of(name), asked, what=name, patience_s=0)
    ended_s = journal.clock.now() + 5
    result = {"state": "succeeded", "output": {"value": None}, "duration_s": 0.0}
    await journal.store.write(RUN, {"task/a": Record(0, "f" * 32, result, "local", ended_s).text()})

    timeline = checked(await timeline_of(journal, RUN))

    assert [span.name for span in timeline.going_on] == ["c", "b"]


async def test_what_agents_used_is_told(journal: Journal):
    async def uses(ctx: TaskContext) -> None:
        ctx.report_usage(Usage(1, 20, 10, 500))

    timeline = await Crew(journal, a=uses).run(work("a"))

    facts = span_of(timeline, "task/a").facts
    assert (facts["input_tokens"], facts["cost_micros"]) == (20, 500)


async def test_refusals_of_a_breaker_are_laps(journal: Journal):
    crew = Crew(journal, a=failing(2))
    crew.policies = {"work": Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=0.05, jitter=0.0))}

    timeline = await crew.run(work("a", retry=Retry(max_attempts=8, base_s=0.05, cap_s=0.2)))

    refused = [span for span in within(timeline, "task/a") if span.kind == "refused"]
    assert refused
    assert str(refused[0].facts["by"]).startswith("breaker:")


async def test_a_question_is_open_until_somebody_answers(journal: Journal):
    crew = Crew(journal)
    running = asyncio.create_task(
        crew.run(work("a"), Task("ask", "boss", depends_on=["a"], approval=Approval("Go on?")))
    )
    people = Approvals(journal)
    # The one who asks is in this test, but not of it.
    while not await people.pending():  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    asking = await crew.timeline()
    await people.answer(RUN, "ask", "approve", by="ann")
    answered = await running

    question = span_of(asking, "task/ask?")
    assert (question.kind, question.ended_us, question.facts["question"]) == ("person", None, "Go on?")
    assert [span.id for span in asking.going_on] == ["task/ask"]
    assert span_of(asking, "task/ask").state == "asking"
    done = span_of(answered, "task/ask?")
    assert (done.state, done.facts["by"], span_of(answered, "task/ask").time) == ("approve", "ann", "person")


async def test_while_a_process_has_the_run_what_could_have_begun_is_due(journal: Journal):
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def waits(ctx: TaskContext) -> None:
        reached.set()
        await go_on.wait()

    crew = Crew(journal, b=waits)
    running = asyncio.create_task(crew.run(work("a"), work("b", "a"), work("c", "b")))
    await reached.wait()
    while (timeline := await crew.timeline()).counts.ended < 1:  # noqa: ASYNC110  # nobody tells of a record
        await asyncio.sleep(0.01)
    go_on.set()
    await running

    due = span_of(timeline, "task/b")
    assert (timeline.state, due.state, due.ended_us) == ("running", "due", None)
    assert due.begun_us == span_of(timeline, "task/a").ended_us
    assert [(one.task_id, one.waits_for) for one in timeline.ahead] == [("c", ("b",))]


async def test_who_has_claimed_a_task_by_itself_is_told(journal: Journal):
    asked = journal.asked(Intent("airflow.a.b"), "fp", "somebody")
    await journal.begin(RUN, await _header(journal, Plan("plan", [work("a"), work("b", "a")])), Intent("airflow.a.b"))
    await journal.claim(RUN, place_of("a"), asked, what="a", patience_s=0)

    timeline = checked(await timeline_of(journal, RUN))

    own = span_of(timeline, "task/a")
    assert (own.state, own.ended_us, own.facts["owner"]) == ("running", None, "somebody")
    assert [one.waits_for for one in timeline.ahead] == [("a",)]


async def test_single_tasks_without_a_plan_took_until_the_last_of_them_had_ended(journal: Journal):
    orchestrator = Crew(journal).orchestrator()
    for task_id in ("a", "b"):
        await orchestrator.execute_task(work(task_id), workflow_id=RUN, intent=Intent("airflow.a.b"))

    timeline = checked(await timeline_of(journal, RUN))

    assert (timeline.state, timeline.is_over) == ("open", True)
    assert timeline.root.ended_us == span_of(timeline, "task/b").ended_us


async def test_compensations_are_spans_of_their_own_that_link_to_what_they_undo(journal: Journal):
    crew = Crew(journal, b=ValueError("no"))
    plan = Plan("plan", [work("a", compensation=Compensation("work")), work("b", "a")])

    await Saga(crew.orchestrator()).run(plan, workflow_id=RUN)

    timeline = await crew.timeline()
    undo = span_of(timeline, "task/undo-a")
    assert (undo.kind, undo.links, undo.state, undo.time) == ("undo", ("task/a",), "succeeded", "undo")


async def test_steps_lie_in_the_call_that_took_them(journal: Journal):
    async def steps(ctx: TaskContext) -> None:
        await ctx.step("fetch", asyncio.sleep, 0.002)
        raise ValueError("after the step")

    timeline = await Crew(journal, a=steps).run(work("a", retry=FAST))

    by_id = {span.id: span for span in timeline.spans}
    found = [span for span in timeline.spans if span.kind == "step"]
    assert found
    assert {by_id[str(span.parent)].kind for span in found} == {"call"}


async def test_of_work_that_goes_on_it_is_told_how_many_steps_are_kept(journal: Journal):
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def two_steps(ctx: TaskContext) -> None:
        for n in range(2):
            await ctx.step(f"step {n}", asyncio.sleep, 0)
        reached.set()
        await go_on.wait()

    running = asyncio.create_task(Crew(journal, a=two_steps).run(work("a")))
    await reached.wait()
    timeline = checked(await timeline_of(journal, RUN))
    go_on.set()
    await running

    assert span_of(timeline, "task/a").facts["steps"] == 2


async def test_what_a_saga_could_not_undo_is_told(journal: Journal):
    crew = Crew(journal, **{"b": ValueError("no"), "undo-a": ValueError("cannot")})
    plan = Plan("plan", [work("a", compensation=Compensation("work")), work("b", "a")])

    await Saga(crew.orchestrator()).run(plan, workflow_id=RUN)

    assert (await crew.timeline()).root.facts["not_undone"] == 1


async def test_the_trace_of_a_run_is_the_one_that_its_spans_are_in(journal: Journal):
    timeline = await Crew(journal).run(work("a"))

    assert timeline.trace_id == f"{run_trace_id('test', RUN):032x}"


async def test_the_same_journal_gives_the_same_ids(journal: Journal):
    crew = Crew(journal, a=failing(1))
    first = await crew.run(work("a", retry=FAST), work("each", "a", foreach=ForEach(items=[1, 2])))

    second = await crew.timeline()

    assert first.spans == second.spans
    assert len({span.id for span in first.spans}) == len(first.spans)


async def test_without_a_plan_the_tasks_are_there_and_that_is_said(journal: Journal):
    await Crew(journal).orchestrator().execute_task(work("a"), workflow_id=RUN, intent=Intent("airflow.a.b"))

    timeline = checked(await timeline_of(journal, RUN))

    assert [span.id for span in timeline.spans] == ["run", "task/a"]
    assert "no plan" in timeline.notes[0]


async def test_a_task_done_anew_keeps_what_it_was_and_shows_who_is_at_it(journal: Journal):
    crew = Crew(journal)
    await crew.orchestrator().execute_task(work("a"), workflow_id=RUN, intent=Intent("airflow.a.b"))
    await journal.forget(RUN, place_of("a"))
    asked = journal.asked(Intent("airflow.a.b"), "fp", "somebody")
    await journal.claim(RUN, place_of("a"), asked, what="a", patience_s=0)

    timeline = await crew.timeline()

    assert span_of(timeline, "task/a").state == "succeeded"
    assert (span_of(timeline, "task/a~anew").state, timeline.state) == ("running", "running")


async def test_every_lap_of_every_record_is_a_span(journal: Journal):
    crew = Crew(journal, a=failing(2), each=failing(5))

    timeline = await crew.run(work("a", retry=FAST), work("each", retry=FAST, foreach=ForEach(items=[1, 2, 3])))

    view = await view_run(journal, RUN)
    laps = sum(len(unit.record.laps) for unit in view.units if unit.record is not None)
    assert laps == sum("!" in span.id for span in timeline.spans) > 0


def _two_is_bad(ctx: TaskContext) -> Any:
    if ctx.item == 2:
        raise ValueError("two is bad")
    return ctx.item


async def _header(journal: Journal, plan: Plan) -> Header:
    return Header(plan.name, plan.hash, document=plan.to_dict(), begun_at=journal.clock.now())
