"""Calls that failed before a breaker refused the rest: their errors are told, and named as what led to it."""

from __future__ import annotations

from coterie import BreakerPolicy, Policies, Retry
from coterie._rules.lap import Lap
from coterie.cli.trace.telling import lines_of, lines_of_span
from coterie.journal import Journal
from coterie.timeline import Span, Timeline, document_of
from coterie.timeline.laps import lap_spans
from coterie.timeline.sums import first_failure, tried_again
from tests.core.timeline.crew import Crew, failing, within, work

OVERLOADED = ConnectionError("503: the model is overloaded")
TOLD = "ConnectionError: 503: the model is overloaded"
TWICE = Retry(max_attempts=2, base_s=0.01, cap_s=0.01)


def down(journal: Journal) -> Crew:
    """A crew whose provider is overloaded, and whose breaker opens for longer than anybody waits."""
    crew = Crew(journal, **dict.fromkeys("abc", OVERLOADED))
    policy = BreakerPolicy(failure_threshold=1, timeout_s=300)
    crew.policies = {"work": Policies(breaker=policy, max_wait_s=0.01)}
    return crew


def told(timeline: Timeline, about: str) -> str:
    return next(line.text for line in lines_of(timeline, timeline.critical_path()) if line.about == about)


async def test_a_failed_call_that_only_a_refusal_followed_counts_as_tried_with_its_error(journal: Journal):
    timeline = await down(journal).run(work("a", retry=TWICE))

    again = tried_again(timeline.spans)

    assert (again.attempts, again.given_up) == (1, 1)
    assert again.errors == {TOLD: 1}
    assert list(again.refusals) == ["breaker:work"]
    assert f"1 attempt failed and was followed by refusals alone: {TOLD}" in told(timeline, "tried")
    document = document_of(timeline)["tried_again"]
    assert (document["attempts"], document["given_up"], document["errors"]) == (1, 1, {TOLD: 1})


async def test_of_a_refusal_that_is_the_first_failure_the_error_before_it_is_named(journal: Journal):
    timeline = await down(journal).run(work("a", retry=TWICE))

    failure = first_failure(timeline.spans, timeline.plan)

    assert failure is not None
    assert (failure.type, failure.cause) == ("BreakerOpen", TOLD)
    assert f"; the last call before it: {TOLD}" in told(timeline, "failed")
    failed = document_of(timeline)["first_failure"]
    assert failed is not None
    assert failed["cause"] == TOLD


async def test_whoever_is_refused_first_the_error_of_the_only_call_is_named(journal: Journal):
    crew = down(journal)
    crew.does, crew.capacity = {"a": failing(1)}, 1

    timeline = await crew.run(work("a", retry=TWICE), work("b"))

    for task in within(timeline, "run"):
        (line,) = [each.text for each in lines_of_span(timeline, timeline.critical_path(), task) if each.bad]
        assert line.endswith("; the last call before it: ValueError: not yet 0")
    failure = first_failure(timeline.spans, timeline.plan)
    assert failure is not None
    assert (failure.type, failure.cause) == ("BreakerOpen", "ValueError: not yet 0")


async def test_what_failed_by_a_call_is_told_without_a_cause_and_is_not_tried(journal: Journal):
    timeline = await Crew(journal, a=OVERLOADED).run(work("a"))

    failure = first_failure(timeline.spans, timeline.plan)

    assert failure is not None
    assert failure.cause is None
    assert tried_again(timeline.spans).attempts == 0
    assert "the last call" not in told(timeline, "failed")


def test_a_call_of_another_type_or_after_the_refusal_led_to_nothing():
    failed = {"error_type": "BreakerOpen", "agent_type": "work"}
    refused = Span("task/a", "run", "a", "task", 0, 50, "failed", facts=failed)
    calls = [
        Lap("call", 10, 5, {"type": "other", "error": "of another type"}),
        Lap("call", 20, 5, {"type": "work", "error": "before"}),
        Lap("call", 60, 5, {"type": "work", "error": "after"}),
    ]

    failure = first_failure([refused, *lap_spans(calls, "task/b")], None)

    assert failure is not None
    assert failure.cause == "before"


def test_calls_that_were_followed_by_another_and_those_by_a_refusal_are_told_apart():
    one, two = {"attempt": 1, "error": "x"}, {"attempt": 2, "error": "x"}
    laps = [Lap("call", 0, 5, one), Lap("call", 10, 5, two), Lap("refused", 20, 0, {"by": "breaker:w"})]

    again = tried_again(lap_spans(laps, "task/a"))

    assert (again.attempts, again.given_up, again.errors) == (2, 1, {"x": 2})


def test_a_refusal_before_the_last_call_takes_nothing_from_it():
    laps = [Lap("refused", 0, 0, {"by": "breaker:w"}), Lap("call", 10, 5, {"attempt": 1, "error": "x"})]
    unit = Span("task/a", "run", "a", "task", 0, 50, "failed", facts={"attempts": 1})

    again = tried_again([unit, *lap_spans(laps, "task/a")])

    assert (again.attempts, again.given_up, again.errors) == (0, 0, {})
