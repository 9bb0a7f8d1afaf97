"""What holds of every timeline, of any journal; and what the critical path says, next to what would have happened."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie.journal import Journal
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.testing import ManualClock
from coterie.timeline import Span, Timeline, critical_path, document_of, timeline_of
from coterie.timeline.span import ROOT
from tests.core.timeline.checks import checked
from tests.core.timeline.synthetic import synthetic_timeline
from tests.core.timeline.worlds import NOW_S, World, schedules, worlds

# Other work on the machine is no failure.
CALM = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def laps_in(timeline: Timeline) -> int:
    """How many laps it tells of: what lies beside others may be told in several pieces."""
    return len({re.sub(r"~\d+$", "", span.id) for span in timeline.spans if "!" in span.id})


@CALM
@given(worlds())
def test_spans_lie_within_their_parents_and_the_path_leads_from_begin_to_end(world: World):
    checked(timeline_in(world))


@pytest.mark.full
@settings(CALM, max_examples=5000)
@given(worlds())
def test_that_holds_of_thousands(world: World):
    timeline = checked(timeline_in(world))

    assert laps_in(timeline) == world.laps


@CALM
@given(worlds())
def test_no_lap_is_lost(world: World):
    timeline = timeline_in(world)

    assert laps_in(timeline) == world.laps


@CALM
@given(worlds())
def test_every_unit_of_work_has_its_span(world: World):
    timeline = timeline_in(world)

    found = {span.id.partition("/")[2] for span in timeline.spans}
    assert world.units <= found


@CALM
@given(worlds())
def test_every_task_of_a_known_plan_has_a_span_or_lies_ahead_or_was_passed_over(world: World):
    timeline = timeline_in(world)
    if timeline.plan is None:
        return

    begun = {span.name for span in timeline.spans if span.parent == ROOT}
    ahead = {one.task_id for one in timeline.ahead}
    assert not begun & ahead
    for task in timeline.plan.tasks:
        followed = any(task.id in other.upstream and other.id in begun for other in timeline.plan.tasks)
        assert task.id in begun or task.id in ahead or followed


@CALM
@given(worlds())
def test_a_run_that_is_over_has_nothing_open(world: World):
    timeline = timeline_in(world)

    is_over = timeline.state not in ("running", "waiting", "interrupted")
    assert timeline.is_over == is_over
    assert not is_over or all(span.ended_us is not None for span in timeline.spans)


@CALM
@given(worlds())
def test_the_document_tells_of_known_spans_alone(world: World):
    document = document_of(timeline_in(world))

    known = {span["id"] for span in document["spans"]}
    told = [*document["critical"], *document["slack"], *(piece["span"] for piece in document["path"])]
    assert known.issuperset(told)
    assert all(known.issuperset(span.get("links", ())) for span in document["spans"])


@CALM
@given(schedules(), st.data())
def test_a_task_may_end_later_by_its_slack_and_no_more(
    schedule: tuple[list[list[int]], list[int], list[int]], data: st.DataObject
):
    before, times, lags = schedule
    late = data.draw(st.integers(0, len(times) - 1))
    more_us = data.draw(st.integers(1, 2_000_000))
    ends = simulated(before, times, lags)

    slack = critical_path(spans_of(before, times, ends), 0).slack

    if any(before):
        longer = [took + (more_us if n == late else 0) for n, took in enumerate(times)]
        delay_us = max(simulated(before, longer, lags)) - max(ends)
        assert delay_us == max(0, more_us - slack[f"task/{late}"])


@CALM
@given(schedules())
def test_each_task_on_the_path_is_what_the_next_one_waited_for(
    schedule: tuple[list[list[int]], list[int], list[int]],
):
    before, times, lags = schedule
    ends = simulated(before, times, lags)

    critical = critical_path(spans_of(before, times, ends), 0)

    path = [int(name.removeprefix("task/")) for name in critical.spans if name != ROOT]
    assert ends[path[-1]] == max(ends)
    for earlier, later in pairwise(path):
        assert ends[earlier] == max(ends[n] for n in before[later])
        assert earlier in before[later]
    assert not before[path[0]]


@CALM
@given(st.integers(0, 10_000), st.integers(3, 400))
def test_made_up_timelines_hold_too(seed: int, size: int):
    checked(synthetic_timeline(seed, size))


def timeline_in(world: World) -> Timeline:
    """The timeline that the texts give."""

    async def read() -> Timeline:
        clock = ManualClock(NOW_S)
        store = MemoryJournalStore("test", clock=clock)
        await store.write("r1", world.texts)
        return await timeline_of(Journal(store, clock=clock), "r1")

    return asyncio.run(read())


def simulated(before: list[list[int]], times: list[int], lags: list[int]) -> list[int]:
    """When each task ends that begins so late after what it waits for."""
    ends: list[int] = []
    for n, took_us in enumerate(times):
        ends.append(max((ends[m] for m in before[n]), default=0) + lags[n] + took_us)
    return ends


def spans_of(before: list[list[int]], times: list[int], ends: list[int]) -> list[Span]:
    """The spans of such tasks."""
    run = Span(ROOT, None, "run", "run", 0, max(ends), "succeeded", "ready")
    return [run] + [
        Span(
            f"task/{n}",
            ROOT,
            str(n),
            "task",
            ends[n] - times[n],
            ends[n],
            "succeeded",
            "agent",
            # Each with slots of its own.
            {"agent_type": f"type {n}"},
            tuple(f"task/{m}" for m in before[n]),
        )
        for n in range(len(times))
    ]
