"""What a call went through at workers is in the journal of who asked for it: refusals, failures, lost workers."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Any

import pytest

from coterie import Plan, Policies, Retry, Task, TaskContext, Team
from coterie._rules import call as rule
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.call_course import MOST_BEFORE, Left, course_of
from coterie._rules.pool_policy import PoolPolicy
from coterie.journal import Journal
from coterie.journal.view import view_run
from coterie.remote import Worker
from coterie.remote.course import AtWork, left_of
from coterie.timeline import Timeline, timeline_of
from coterie.timeline.sums import time_of_path, tried_again
from coterie.trail import Lap, Trail
from tests.fleet.remote.fleet import Fleet, call_of, eventually, until
from tests.fleet.remote.held import Held
from tests.fleet.remote.test_call_rule import SECOND, Book, begun

PLAN = Plan("p", [Task("t", "frail", retry=Retry(max_attempts=2, base_s=0.001, cap_s=0.001))])
# Of one refusal or several: a breaker is asked again when it should have rested enough.
COURSE = re.compile(r"queue call backoff (refused wait queue )+call")
REST_S = 1.0


class Frail:
    """An agent that fails twice, which opens its breaker, and is well from then on."""

    def __init__(self) -> None:
        self.calls = 0
        self.team = Team("frail")
        breaker = BreakerPolicy(failure_threshold=1, timeout_s=REST_S, success_threshold=1)
        self.team.protect("frail", Policies(breaker=breaker, pool=PoolPolicy(), max_wait_s=30.0))
        self.team.agent("frail", capacity=1)(self.perform)

    async def perform(self, _: dict[str, Any], context: TaskContext) -> str:
        self.calls += 1
        if self.calls == 1:
            raise ConnectionError("down")
        await asyncio.sleep(0.05)
        return "done"


def asking(agent_type: str) -> Team:
    team = Team("asking")
    team.remote(agent_type)
    return team


async def laps_of_task(fleet: Fleet) -> Sequence[Lap]:
    record = (await view_run(Journal(fleet.books), "r")).unit("t").record
    assert record is not None
    return record.laps


def kinds(laps: Sequence[Lap]) -> str:
    """Without what a busy machine makes of handing over slots."""
    return " ".join(lap.kind for lap in laps if lap.kind != "claim" and lap.facts.get("place") not in ("pool", "local"))


async def timeline_in(fleet: Fleet) -> Timeline:
    return await timeline_of(Journal(fleet.books), "r")


def seconds(timeline: Timeline) -> dict[str, float]:
    return {kind: us / 1e6 for kind, us in time_of_path(timeline.critical_path().pieces).items()}


async def run_through_an_outage(fleet: Fleet) -> None:
    frail = Frail()
    orchestrator = (await fleet.runtime(asking("frail"))).orchestrator
    async with fleet.worker(frail.team, worker_id="w1"):
        result = await asyncio.wait_for(orchestrator.execute_workflow(PLAN, workflow_id="r"), 30)
    assert result.status == "succeeded"


async def test_the_outage_of_a_breaker_is_in_the_journal_of_who_asked(fleet: Fleet):
    await run_through_an_outage(fleet)

    laps = await laps_of_task(fleet)
    refused = next(lap for lap in laps if lap.kind == "refused")
    assert COURSE.fullmatch(kinds(laps))
    assert (refused.facts["by"], refused.facts["worker"]) == ("breaker:frail", "w1")
    assert [str(lap.facts.get("error")) for lap in laps if lap.kind == "call"] == ["ConnectionError: down", "None"]
    held = next(lap for lap in laps if lap.kind == "wait")
    assert (held.facts, held.at_us >= refused.at_us) == ({"for": "refusal"}, True)


async def test_who_waits_for_refused_work_says_so_in_its_own_log(fleet: Fleet, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "coterie.task"):
        await run_through_an_outage(fleet)

    told = [record.getMessage() for record in caplog.records if record.name == "coterie.task"]
    (first, *_) = [line for line in told if line.startswith("task.refused")]
    assert re.match(r"task\.refused t: waiting \d\.\d+ s: breaker:frail: BreakerOpen: .* \(worker w1\)$", first)


async def test_a_timeline_tells_the_outage_as_it_does_of_agents_in_the_process(fleet: Fleet):
    await run_through_an_outage(fleet)

    timeline = await timeline_in(fleet)
    laps = await laps_of_task(fleet)
    held = sum(lap.took_us for lap in laps if lap.kind == "wait")
    assert seconds(timeline)["wait"] == pytest.approx(held / 1e6, abs=0.01)
    refusals = sum(lap.kind == "refused" for lap in laps)
    assert tried_again(timeline.spans).refusals == {"breaker:frail": refusals}


async def test_spans_of_a_refused_attempt_are_not_made_twice(fleet: Fleet, spans):
    await run_through_an_outage(fleet)

    called = spans.one("invoke_agent frail", kind="CLIENT")
    here = spans.parent(called)
    assert {name for name in spans.under(here) if name in ("backoff", "wait refusal")} == {"wait refusal"}


async def test_the_work_of_a_killed_worker_is_lost_with_it_and_no_wait(fleet: Fleet):
    held, again = Held(), Held()
    again.release.set()
    orchestrator = (await fleet.runtime(asking("held"))).orchestrator
    plan = Plan("p", [Task("t", "held")])
    run = asyncio.create_task(orchestrator.execute_workflow(plan, workflow_id="r"))
    gone = Worker(await fleet.runtime(held.team), worker_id="sum-1", lease_s=1.0)
    work = asyncio.create_task(gone.run())
    await until(lambda: held.began == ["t"])
    freeze(gone)
    runtime = await fleet.runtime(again.team)
    async with fleet.worker(again.team, worker_id="sum-2"):
        await asyncio.wait_for(run, 30)

        async def is_told() -> bool:
            return bool([one async for one in runtime.bus.replay("task.returned")])

        await eventually(is_told)
    work.cancel()
    await asyncio.wait({work})

    laps = await laps_of_task(fleet)
    assert [(lap.kind, lap.facts.get("worker")) for lap in laps[:3]] == [
        ("queue", "sum-1"),
        ("lost", "sum-1"),
        ("queue", "sum-2"),
    ]
    assert laps[1].facts["why"] == "lost"
    assert laps[1].took_us > 0
    assert seconds(await timeline_in(fleet))["lost"] == pytest.approx(laps[1].took_us / 1e6, abs=0.01)
    told = [one.event.data async for one in runtime.bus.replay("task.returned")]
    lost = [data for data in told if isinstance(data, dict) and data["why"] == "lost"]
    assert [(data["worker"], data["attempt"]) for data in lost] == [("sum-1", 1)]


def freeze(worker: Worker) -> None:
    """As if it were killed: nothing is heard of it any more, and its lease runs out; it takes nothing."""

    async def never() -> None:
        await asyncio.Event().wait()

    worker._beat = never  # type: ignore[method-assign]
    worker._room = lambda: 0  # type: ignore[method-assign]


async def test_a_task_that_its_worker_records_has_its_earlier_attempts_too(fleet: Fleet):
    frail = Frail()
    async with fleet.worker(frail.team, worker_id="w1"):
        await fleet.calls.submit(call_of(PLAN.tasks[0]))
        await asyncio.wait_for(fleet.calls.wait(call_of(PLAN.tasks[0]).id), 30)

    assert COURSE.fullmatch(kinds(await laps_of_task(fleet)))


@pytest.fixture
def book() -> Book:
    return Book()


def put_back(book: Book, left: Left) -> None:
    token = begun(book.begin()).record.token
    book.now += SECOND // 10
    assert book.do(rule.put_back, token=token, was_refused=left.why == "refused", left=left)


def refused(at_us: int) -> Left:
    return Left("refused", (Lap("refused", at_us, 0, {"by": "breaker:b"}),), delay_us=SECOND)


def test_however_often_a_call_is_refused_its_record_stays_small_and_says_how_long_it_waited(book: Book):
    book.submit()
    for _ in range(500):
        put_back(book, refused(book.now))
        book.now += SECOND
    begun(book.begin())

    course = course_of(book.record)
    assert len(course.laps) <= MOST_BEFORE + 2
    assert course.more > 0
    assert len(book.record.past) < 16_000
    waited = sum(lap.took_us for lap in course.laps if lap.kind == "wait")
    assert waited > 0.9 * (course.laps[-1].ended_us - course.laps[0].at_us - 500 * SECOND // 10)
    ends = [lap.ended_us for lap in course.laps]
    assert ends == sorted(ends)


def test_a_pool_that_is_asked_again_and_again_is_one_wait(book: Book):
    book.submit()
    for _ in range(100):
        put_back(book, Left("pool", delay_us=SECOND // 2))
        book.now += SECOND // 2
    begun(book.begin(worker="w2"))

    laps = course_of(book.record).laps
    assert [(lap.kind, lap.facts["place"]) for lap in laps][1:] == [
        ("queue", "pool"),
        ("queue", "pool"),
        ("queue", "worker"),
    ]
    assert laps[-1].facts["worker"] == "w2"


def test_whoever_takes_a_call_anew_as_the_answer_was_lost_has_lost_nothing(book: Book):
    book.submit()
    begun(book.begin(worker="w1"))

    assert begun(book.begin(worker="w1")).lost is None
    assert [lap.kind for lap in course_of(book.record).laps] == ["queue"]


def test_a_worker_that_was_given_up_by_who_waits_is_lost_from_then_on(book: Book):
    book.submit()
    token = begun(book.begin(worker="w1")).record.token
    book.now += SECOND
    book.do(rule.lose, token=token)
    book.now += 2 * SECOND
    found = begun(book.begin(worker="w2", position="2"))

    assert found.lost is not None
    assert [(lap.kind, lap.took_us) for lap in course_of(book.record).laps] == [
        ("queue", 0),
        ("lost", SECOND),
        ("queue", 2 * SECOND),
    ]


def test_a_record_of_an_earlier_version_is_one_wait(book: Book):
    book.submit()
    token = begun(book.begin()).record.token
    book.do(rule.put_back, token=token)
    new = ("past", "free", "held", "held_for", "lost")
    book.state = {name: value for name, value in (book.state or {}).items() if name not in new}
    book.now += SECOND
    begun(book.begin())

    assert [(lap.kind, lap.took_us) for lap in course_of(book.record).laps] == [("queue", SECOND)]


def test_a_past_that_cannot_be_read_is_none(book: Book):
    book.submit()
    book.state = {**(book.state or {}), "past": '{"l":[1]}'}
    begun(book.begin())

    assert [lap.kind for lap in course_of(book.record).laps] == ["queue"]


def test_an_attempt_that_only_found_its_pool_busy_leaves_no_laps_of_its_own():
    trail = Trail()
    trail.note("queue", 1, 20_000, place="pool", priority=0)
    trail.note("refused", 20_001, 0, by="pool:held")

    left = left_of(AtWork(trail, 0), "pool", "w1", error="", delay_s=0.5)

    assert (left.why, left.laps, left.delay_us) == ("pool", (), SECOND // 2)


def test_a_claim_of_the_steps_of_an_earlier_attempt_is_no_news():
    trail = Trail()
    trail.note("claim", 1, 20_000, after="call.abc.1", why="unfinished")
    trail.note("call", 20_001, 5, error=ValueError("7"))
    trail.note("refused", 20_006, 0, by="breaker:held")
    trail.traced = frozenset({0, 1})

    left = left_of(AtWork(trail, 0), "refused", "w1", error="", delay_s=1.0)

    assert [(lap.kind, lap.facts["worker"]) for lap in left.laps] == [("call", "w1"), ("refused", "w1")]
    assert left.spanned == {0}
