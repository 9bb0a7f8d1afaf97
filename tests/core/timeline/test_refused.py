"""What nobody came to do: nothing is replayed from it, and everything that shows the run says how it ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from coterie import ArtifactStore, BreakerPolicy, ForEach, Intent, Plan, Policies, Task, TaskContext, Team
from coterie._rules.journal_text import Record
from coterie._rules.lap import Lap
from coterie._rules.refusal import Refusal, refused_path
from coterie.cli.runs.documents import unit_document
from coterie.cli.top.run_file import RunFile
from coterie.cli.trace.telling import lines_of
from coterie.errors import Refused, StateFormatError, Unavailable
from coterie.ids import TaskState
from coterie.journal import Journal
from coterie.journal.forecast import forecast
from coterie.journal.header import Header
from coterie.journal.place import RUN as RUN_PLACE
from coterie.journal.place import place_of
from coterie.journal.view import UnitView, view_run
from coterie.testing import MemoryBlobs
from coterie.timeline import Timeline, timeline_of
from coterie.timeline.standing import Standing, standing_of
from coterie.timeline.sums import Failure, first_failure
from tests.core.timeline.checks import checked
from tests.core.timeline.crew import RUN, Crew, span_of, within, work

OPENS_AT_ONCE = BreakerPolicy(failure_threshold=1, timeout_s=300)
SCHEDULED = Intent("airflow.dag.manual")


def down(journal: Journal, wait_s: float = 0.01) -> Crew:
    """A crew whose provider is down, and whose breaker opens at the first failure."""
    crew = Crew(journal)
    crew.does = {name: ConnectionError("502") for name in "abc"} | {"each": ConnectionError("502")}
    crew.policies = {"work": Policies(breaker=OPENS_AT_ONCE, max_wait_s=wait_s)}
    return crew


class Scheduler:
    """Has the tasks of a plan done one by one, each by a process of its own."""

    def __init__(self, crew: Crew, *tasks: Task) -> None:
        self.crew = crew
        self.orchestrator = crew.orchestrator()
        self.plan = Plan("plan", tasks)

    async def task(self, name: str) -> str:
        """One try; how it ended, or the name of what told it to wait."""
        try:
            result = await self.orchestrator.execute_task(
                self.plan.task(name), workflow_id=RUN, plan=self.plan, intent=SCHEDULED, waits=False
            )
        except Refused as refusal:
            return type(refusal).__name__
        return result.state

    async def end(self) -> None:
        await self.crew.journal.conclude(RUN, "failed", by=SCHEDULED.engine_run)


def told(timeline: Timeline, name: str) -> str:
    return next(line.text for line in lines_of(timeline, timeline.critical_path()) if line.about == name)


async def unit_of(journal: Journal, name: str) -> UnitView:
    unit = (await view_run(journal, RUN)).unit(name)
    assert unit is not None
    return unit


async def test_a_task_that_is_refused_for_good_has_failed_with_the_refusal(journal: Journal):
    crew = down(journal)

    timeline = await crew.run(work("a"), work("b", "a", trigger_rule="all_done"))

    refused = span_of(timeline, "task/b")
    assert (timeline.state, refused.state) == ("failed", "failed")
    assert refused.facts["error_type"] == "BreakerOpen"
    assert any(span.kind == "refused" for span in within(timeline, "task/b"))
    unit = await unit_of(journal, "b")
    assert unit_document(unit, None)["state"] == "failed"
    assert unit.record is None


async def test_the_items_that_are_refused_count_as_failed(journal: Journal):
    timeline = await down(journal).run(work("each", foreach=ForEach(items=[1, 2, 3, 4])))

    whole = span_of(timeline, "task/each")
    assert (whole.state, whole.facts["failed_items"], whole.facts["items"]) == ("failed", 4, 4)
    assert "ended_items" not in whole.facts
    assert {item.state for item in within(timeline, "task/each")} == {"failed"}
    failure = first_failure(timeline.spans, timeline.plan)
    assert failure is not None


@pytest.mark.parametrize("error", [Refused("no", retry_after_s=1.0), Unavailable("down")])
async def test_whatever_kept_everybody_from_coming_is_told(journal: Journal, error: Exception):
    timeline = await Crew(journal, a=error).run(work("a"))

    assert span_of(timeline, "task/a").facts["error_type"] == type(error).__name__


async def test_what_was_refused_is_done_by_a_later_try_and_nothing_of_the_refusal_is_left(journal: Journal):
    crew = Crew(journal, a=Refused("no", retry_after_s=1.0))
    await crew.run(work("a"))
    crew.does["a"] = "done"

    timeline = await crew.run(work("a"))

    assert (timeline.state, span_of(timeline, "task/a").state) == ("succeeded", "succeeded")
    assert "error_type" not in span_of(timeline, "task/a").facts
    unit = await unit_of(journal, "a")
    assert (unit.state, unit.error, unit.refused) == ("succeeded", None, None)


async def test_a_run_that_a_process_had_as_a_whole_is_not_left_to_a_scheduler(journal: Journal):
    plan = Plan("plan", [work("a")])
    header = Header(plan.name, plan.hash, engine_run=SCHEDULED.engine_run)
    await journal.open_run(RUN, header, Intent(), journal.asked(Intent(), owner="gone"))
    await journal.store.write(RUN, {RUN_PLACE.pulse: "1"})

    timeline = checked(await timeline_of(journal, RUN))

    assert told(timeline, "left") == f"nobody is at it; it goes on with: coterie runs resume {RUN}"


async def test_going_on_says_that_what_it_does_was_refused(journal: Journal):
    crew = Crew(journal, a=Refused("no", retry_after_s=1.0))
    await crew.run(work("a"))
    team = Team("crew")
    team.agent("work")(lambda _: None)

    looked = await forecast(await view_run(journal, RUN), Plan("plan", [work("a")]), team)

    assert [(task.prospect, task.why) for task in looked.tasks] == [("runs", "refused")]


async def test_a_note_of_a_refusal_that_is_damaged_is_said_and_one_of_more_than_is_known_is_read(journal: Journal):
    await Crew(journal, a=Refused("no", retry_after_s=1.0)).run(work("a"))
    path = refused_path("a")
    text = (await journal.store.read(RUN))[path]
    await journal.store.write(RUN, {path: text.replace('{"v":1,', '{"v":1,"new":[1],')})
    assert (await unit_of(journal, "a")).state == "failed"

    await journal.store.write(RUN, {path: text.replace('"c":[', '"x":[')})

    with pytest.raises(StateFormatError, match="refused/a"):
        await view_run(journal, RUN)


async def test_what_a_later_try_has_begun_and_not_ended_is_not_said_to_have_failed(journal: Journal):
    crew = Crew(journal, a=Refused("no", retry_after_s=1.0))
    await crew.run(work("a"))
    header = (await view_run(journal, RUN)).header
    await journal.open_run(RUN, header, Intent(), journal.asked(Intent()))

    unit = (await view_run(journal, RUN)).unit("a")

    assert unit is None or unit.state is None


async def test_what_was_forgotten_since_is_not_said_to_have_failed(journal: Journal):
    crew = Crew(journal, a=Refused("no", retry_after_s=1.0))
    await crew.run(work("a"))

    assert await journal.forget(RUN, place_of("a"))

    assert (await unit_of(journal, "a")).state is None


async def test_a_scheduler_s_task_is_refused_until_its_run_has_ended_and_then_has_failed(journal: Journal):
    scheduler = Scheduler(down(journal, 900.0), work("a"), work("b"))
    await scheduler.task("a")
    assert await scheduler.task("b") == "BreakerOpen"

    timeline = checked(await timeline_of(journal, RUN))
    assert span_of(timeline, "task/b").state == "refused"
    assert span_of(timeline, "task/b").facts["error_type"] == "BreakerOpen"
    assert (timeline.state, timeline.counts.ended) == ("interrupted", 1)
    assert told(timeline, "left").startswith(
        "nobody is at it now; its scheduler (airflow) goes on with it, or has given"
    )
    await scheduler.end()

    timeline = checked(await timeline_of(journal, RUN))
    assert span_of(timeline, "task/b").state == "failed"
    assert timeline.counts == (2, 2, 2, 0)


async def test_a_scheduler_s_task_that_nobody_waits_for_any_more_has_failed_at_once(journal: Journal):
    scheduler = Scheduler(down(journal), work("a"), work("b"), work("c", "b"))
    await scheduler.task("a")
    assert await scheduler.task("b") == "failed"

    timeline = checked(await timeline_of(journal, RUN))

    assert span_of(timeline, "task/b").state == "failed"
    assert [(one.task_id, one.because) for one in timeline.ahead] == [("c", "b")]


async def test_what_a_scheduler_begins_again_waited_after_the_refusal_until_then(journal: Journal):
    crew = down(journal, 900.0)
    scheduler = Scheduler(crew, work("a"), work("b"))
    await scheduler.task("a")
    for _ in range(2):
        await scheduler.task("b")
    crew.policies, crew.does = {}, {}
    scheduler.orchestrator = crew.orchestrator()

    assert await scheduler.task("b") == "succeeded"

    timeline = checked(await timeline_of(journal, RUN))
    kinds = [span.kind for span in within(timeline, "task/b")]
    assert span_of(timeline, "task/b").state == "succeeded"
    assert (kinds.count("refused"), kinds.count("wait")) == (2, 2)
    assert "error_type" not in span_of(timeline, "task/b").facts


def test_what_begins_in_the_millisecond_of_a_refusal_waited_after_it():
    asked = Lap("refused", 1_000_000, 0, {"by": "breaker:work"})
    given_up = Record(0, "", {"state": "failed"}, "x", at=1.0006, laps=(asked,))
    kept = Refusal(Record.read(given_up.text(), "refused/b"), token=1, whole=False, final=False)
    again = Record(0, "", {"state": "succeeded"}, "x", at=1.1, laps=(Lap("call", 1_000_700, 90_000),))

    laps = kept.followed_by(again)

    assert kept.record.at == 1.001
    assert laps == (asked, Lap("wait", 1_000_700, 0, {"for": "refusal"}), *again.laps)


async def test_the_items_of_parts_that_were_refused_have_failed_while_the_scheduler_s_run_goes_on(
    journal: Journal,
):
    task = work("each", foreach=ForEach(items=[1, 2, 3, 4]))
    plan, store = Plan("plan", [task, work("end", "each")]), ArtifactStore(MemoryBlobs())
    orchestrator = down(journal).orchestrator(artifacts=store)
    parts = await orchestrator.split(task, max_parts=2, workflow_id=RUN)
    assert parts is not None

    for part in parts:
        await orchestrator.execute_part(task, part, workflow_id=RUN, plan=plan, intent=SCHEDULED)

    timeline = checked(await timeline_of(journal, RUN, artifacts=store))
    assert {item.state for item in within(timeline, "task/each")} == {"failed"}
    assert (span_of(timeline, "task/each").state, timeline.counts.failed) == ("failed", 1)
    assert [(one.task_id, one.because) for one in timeline.ahead] == [("end", "each")]


async def test_top_counts_what_was_refused_for_good_as_failed(journal: Journal):
    await down(journal).run(work("a"), work("each", "a", trigger_rule="all_done", foreach=ForEach(items=[1, 2])))
    (entry,) = (await journal.store.runs(limit=1, after=None)).runs
    file = RunFile(entry)

    await file.look(journal, None)

    assert file.row is not None
    assert (file.row.done, file.row.failed, file.row.state) == (0, 2, "failed")


def standing_after(*tasks: Task, **ended: TaskState) -> Standing:
    return standing_of(Plan("plan", tasks), ended, ended.keys())


def test_what_may_begin_after_a_failure_is_not_ahead_because_of_it():
    tasks = work("a"), work("b"), work("c", "a", "b", trigger_rule="all_done"), work("d", "c")

    standing = standing_after(*tasks, a="failed")

    assert [(one.task_id, one.waits_for, one.because) for one in standing.ahead] == [
        ("c", ("b",), None),
        ("d", ("c",), None),
    ]


def test_what_a_failure_keeps_from_beginning_names_it_through_what_lies_between():
    standing = standing_after(work("a"), work("b", "a"), work("c", "b"), work("d"), a="failed")

    assert [(one.task_id, one.because) for one in standing.ahead] == [("b", "a"), ("c", "a")]


async def test_a_failure_within_the_tolerance_of_a_run_that_goes_on_keeps_nothing_from_beginning(journal: Journal):
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def first_fails(ctx: TaskContext) -> None:
        if ctx.item == 1:
            raise ValueError("bad")
        reached.set()
        await go_on.wait()

    each = work("each", foreach=ForEach(items=[1, 2], tolerate_failures=1))
    running = asyncio.create_task(Crew(journal, each=first_fails).run(each, work("end", "each")))
    await reached.wait()
    while (failure := await _first_failure(journal)) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    go_on.set()
    await running

    assert (failure.message, failure.blocked) == ("bad", 0)


async def test_what_began_all_the_same_and_was_refused_was_not_kept_from_beginning(journal: Journal):
    timeline = await down(journal).run(work("a"), work("b", "a", trigger_rule="all_done"), work("c", "b"))

    failure = first_failure(timeline.spans, timeline.plan)

    assert failure is not None
    assert (failure.task_id, failure.blocked) == ("a", 0)
    assert [(one.task_id, one.because) for one in timeline.ahead] == [("c", "b")]


async def _first_failure(journal: Journal) -> Failure | None:
    timeline = checked(await timeline_of(journal, RUN))
    return first_failure(timeline.spans, timeline.plan)


async def test_what_was_done_and_perhaps_recorded_is_not_told_as_refused(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    write = journal.store.write

    async def written_and_lost(*given: Any, **more: Any) -> None:
        await write(*given, **more)
        raise Unavailable("the answer was lost")

    scheduler = Scheduler(Crew(journal), work("a"))
    monkeypatch.setattr(journal.store, "write", written_and_lost)
    with suppress(Unavailable):
        await scheduler.task("a")
    await scheduler.end()

    unit = await unit_of(journal, "a")
    assert (unit.state, unit.refused, unit.earlier) == ("succeeded", None, None)
