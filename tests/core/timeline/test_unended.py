"""Work that has not ended: the journal knows neither that it waits nor that somebody is at it, and says so."""

from __future__ import annotations

import asyncio

from coterie import BreakerPolicy, Intent, Plan, Policies, Retry, Task, TaskContext
from coterie._rules.journal import RUN as WHOLE
from coterie._rules.journal_text import Claim
from coterie._rules.lap import Lap
from coterie.journal import Journal
from coterie.journal.header import Header
from coterie.journal.place import place_of
from coterie.timeline import document_of, timeline_of
from coterie.timeline.sums import time_of_path, tried_again
from tests.core.timeline.checks import checked
from tests.core.timeline.crew import FAST, RUN, Crew, failing, half_done, span_of, within, work
from tests.core.timeline.written import BEGUN_S, record


async def begun(journal: Journal, *tasks: Task) -> None:
    plan = Plan("plan", tasks)
    header = Header(plan.name, plan.hash, document=plan.to_dict(), begun_at=BEGUN_S)
    await journal.begin(RUN, header, Intent("prefect.a"))


async def test_a_task_that_somebody_has_claimed_is_not_said_to_be_at_work(journal: Journal):
    await begun(journal, work("a"))
    await journal.claim(
        RUN, place_of("a"), journal.asked(Intent("prefect.a"), "fp", "process 7"), what="a", patience_s=0
    )

    timeline = checked(await timeline_of(journal, RUN))

    assert span_of(timeline, "task/a").time == "open"
    assert list(document_of(timeline)["where"]) == ["open"]


async def test_a_foreach_that_goes_on_is_not_said_to_be_coterie_s_own_time(journal: Journal):
    timeline = await half_done(journal)

    pieces = timeline.critical_path().pieces
    assert pieces[-1].kind == "open"
    assert "coterie" not in time_of_path(pieces)


async def test_who_was_refused_and_then_waits_for_a_slot_is_noted_to_wait_for_it(journal: Journal):
    left = iter([ValueError("not yet")])

    async def fails_once(ctx: TaskContext) -> None:
        for error in left:
            raise error
        await asyncio.sleep(0.2)

    crew = Crew(journal, a=fails_once, b=fails_once, c=fails_once)
    crew.capacity = 1
    crew.policies = {"work": Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=0.05, jitter=0.0))}

    # Once the breaker is over, whoever comes first has the only slot for long.
    again = Retry(max_attempts=8, base_s=0.01, cap_s=0.01)
    timeline = await crew.run(*(work(name, retry=again) for name in "abc"))

    waits = [span for name in "abc" for span in within(timeline, f"task/{name}") if span.kind == "queue"]
    assert "local" in {span.facts["place"] for span in waits}


async def test_while_nobody_was_at_a_run_that_was_taken_over_nobody_is_said_to_have_been(journal: Journal):
    await begun(journal, work("a"), work("b", "a"), work("c", "b"))
    texts = {
        "task/a": record(0, 10, ()),
        "task/b": record(90, 100, ()),
        "status": '{"v":1,"status":"succeeded","at":%f,"by":"local"}' % (BEGUN_S + 100),
    }
    await journal.store.write(RUN, texts)
    once = document_of(checked(await timeline_of(journal, RUN)))["where"]
    await journal.store.write(RUN, {WHOLE.claim: Claim(2, 0, "process 7").text()})

    again = document_of(checked(await timeline_of(journal, RUN)))["where"]
    await journal.store.write(RUN, {"status": None, WHOLE.pulse: str(2**60)})
    goes_on = document_of(checked(await timeline_of(journal, RUN)))["where"]

    assert goes_on["nobody"] == 80.0
    assert (once["ready"], once.get("nobody")) == (80.0, None)
    assert (again["nobody"], again.get("ready")) == (80.0, None)


async def test_a_task_that_was_taken_over_was_nobody_s_between_the_two(journal: Journal):
    def lap(kind: str, begun_s: float, ended_s: float, **facts: str | int) -> Lap:
        return Lap(kind, round((BEGUN_S + begun_s) * 1e6), round((ended_s - begun_s) * 1e6), facts)

    laps = (lap("call", 5, 9, attempt=1, agent="w"), lap("claim", 80, 80, after="process 7", why="unfinished"))
    await begun(journal, work("a"))
    ended = '{"v":1,"status":"succeeded","at":%f,"by":"local"}' % (BEGUN_S + 81)
    await journal.store.write(RUN, {"task/a": record(79, 81, laps), "status": ended})

    where = document_of(checked(await timeline_of(journal, RUN)))["where"]

    assert where["nobody"] == 71.0


async def test_what_failed_and_was_tried_again_is_told_with_its_errors(journal: Journal):
    crew = Crew(journal, a=failing(2), b=failing(9))

    timeline = await crew.run(work("a", retry=FAST), work("b", retry=FAST))

    again = tried_again(timeline.spans)
    # What a task failed with for good was followed by nothing.
    assert again.attempts == sum(again.errors.values()) == 4
    assert again.errors["ValueError: not yet 0"] == 2
    assert document_of(timeline)["tried_again"]["errors"] == dict(again.errors)
