"""Laps as spans: what lies in what."""

from __future__ import annotations

from coterie._rules.lap import Lap
from coterie.timeline import Span
from coterie.timeline.laps import lap_spans
from coterie.timeline.sums import time_of_work


def parents(*laps: Lap) -> dict[str, str | None]:
    """By the number of each lap: in which it lies, if in any."""
    found = {span.id.partition("!")[2]: span.parent for span in lap_spans(laps, "task/a")}
    return {name: None if parent == "task/a" else str(parent).partition("!")[2] for name, parent in found.items()}


def test_a_step_lies_in_its_call_and_a_step_of_it_in_that():
    # In the order of their ends, as they are noted.
    inner, step, call = Lap("step", 30, 10), Lap("step", 20, 50), Lap("call", 0, 100)

    assert parents(inner, step, call) == {"2": None, "1": "2", "0": "1"}


def test_what_came_after_a_call_does_not_lie_in_it():
    assert parents(Lap("call", 0, 100), Lap("backoff", 100, 50), Lap("call", 150, 10)) == {
        "0": None,
        "1": None,
        "2": None,
    }


def test_what_began_after_a_call_ended_does_not_lie_in_it():
    assert parents(Lap("call", 0, 100), Lap("refused", 101, 0)) == {"0": None, "1": None}


def test_what_is_noted_at_the_end_of_a_call_lies_in_it():
    assert parents(Lap("write", 90, 10), Lap("call", 0, 100)) == {"1": None, "0": "1"}


def test_a_microsecond_of_rounding_makes_no_stranger():
    spans = lap_spans([Lap("call", 0, 100), Lap("step", 50, 51)], "task/a")

    assert (spans[1].parent, spans[1].ended_us) == ("task/a!0", 100)


def test_waits_hold_nothing():
    assert parents(Lap("queue", 0, 100), Lap("refused", 50, 0)) == {"0": None, "1": None}


def test_own_time_is_what_nothing_within_took_however_that_overlaps():
    unit = Span("task/a", "run", "a", "task", 0, 100, "succeeded", "coterie")
    steps = lap_spans([Lap("step", 10, 40), Lap("step", 30, 40), Lap("read", 35, 5)], unit.id)

    work = time_of_work([unit, *steps], 100)

    assert work == {"agent": 40 + 40 - 5, "coterie": 40, "artifact": 5}


def stretches(*laps: Lap) -> list[tuple[str, str, int, int | None]]:
    """Of the spans: which lap's, in which other's, from when to when; in the order of their beginnings."""
    found = lap_spans(laps, "task/a")
    return [(s.id.partition("!")[2], str(s.parent).partition("!")[2], s.begun_us, s.ended_us) for s in found]


def test_who_waits_for_a_claim_while_the_work_goes_on_waits_beside_it_alone():
    claim, queue, call = Lap("claim", 20, 300), Lap("queue", 0, 50), Lap("call", 60, 40)

    assert stretches(claim, queue, call) == [
        ("1", "", 0, 50),
        ("0", "", 50, 60),
        ("2", "", 60, 100),
        ("0~1", "", 100, 320),
    ]


def test_who_joins_a_call_at_work_has_not_waited_at_all():
    claim, call, wait = Lap("claim", 20, 30), Lap("call", 0, 100), Lap("wait", 60, 50, {"for": "store"})

    assert stretches(claim, call, wait) == [("1", "", 0, 100), ("0", "1", 20, 20), ("2", "", 100, 110)]


def test_a_wait_for_the_store_is_none_after_a_refusal():
    spans = lap_spans([Lap("wait", 0, 10, {"for": "store"}), Lap("wait", 10, 10, {"for": "refusal"})], "task/a")

    assert [span.time for span in spans] == ["store", "wait"]
