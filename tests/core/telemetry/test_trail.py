"""The notebook of one unit of work, and its text in the journal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie._rules.journal_text import Record
from coterie.errors import StateFormatError
from coterie.trail import LONGEST_TEXT, MOST_LAPS, SHORTEST_US, Lap, Trail, laps_of, laps_text

FACTS = st.dictionaries(
    st.sampled_from(["place", "attempt", "error", "replayed", "retry_after_s"]),
    st.text(max_size=10) | st.integers(0, 10**12) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
)
LAPS = st.lists(
    st.builds(Lap, st.sampled_from(["queue", "call", "later"]), st.integers(0, 2**60), st.integers(0, 2**40), FACTS),
    min_size=1,
)


def record(**more: object) -> Record:
    return Record(0, "f" * 32, {"state": "succeeded", "output": {"value": None}, "duration_s": 1.0}, "local", **more)


@given(LAPS, st.integers(0, 5))
def test_laps_come_back_from_their_text_as_they_went_in(laps: list[Lap], more: int):
    text = json.dumps(laps_text(tuple(laps), more))

    assert laps_of(json.loads(text)) == (tuple(laps), more)


def test_a_record_without_laps_has_no_word_of_them():
    text = record(laps=()).text()

    assert '"tl"' not in text
    assert Record.read(text, "task/a").laps == ()


def test_a_record_keeps_its_laps_when_it_is_noted_who_saw_it():
    laps = (Lap("queue", 5, 10, {"place": "pool"}), Lap("call", 15, 3))

    read = Record.read(record(laps=laps, more=2).text(), "task/a")

    assert (read.laps, read.more) == (laps, 2)


def test_laps_that_are_none_are_a_damaged_record():
    text = record(laps=(Lap("queue", 5, 10),)).text().replace('["queue",0,10]', '["queue"]')

    with pytest.raises(StateFormatError, match="task/a"):
        Record.read(text, "task/a")


def test_a_reader_takes_laps_and_fields_that_it_does_not_know():
    document = json.loads(record(laps=(Lap("siesta", 5, 10, {"shade": True}),)).text())

    read = Record.read(json.dumps({**document, "of_a_newer_coterie": 1}), "task/a")

    assert read.laps == (Lap("siesta", 5, 10, {"shade": True}),)


def test_what_does_not_fit_is_counted():
    trail = Trail()

    for _ in range(MOST_LAPS + 3):
        trail.note("step", 0, 1)

    assert (len(trail.laps), trail.more) == (MOST_LAPS, 3)


def test_of_an_error_its_type_and_the_beginning_of_its_message_stay():
    trail = Trail()

    trail.note("backoff", 0, 1, error=ValueError("x" * 1000))

    (lap,) = trail.laps
    assert str(lap.facts["error"]).startswith("ValueError: xxx")
    assert len(str(lap.facts["error"])) == LONGEST_TEXT


def test_what_no_store_would_take_is_made_harmless():
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    trail = Trail()

    trail.note("refused", 0, 0, by="half \ud800", error=Mute(), retry_after_s=float("inf"), priority=None)

    assert trail.laps[0].facts == {"by": "half \\ud800", "error": "Mute: it could not be told: RuntimeError"}
    json.dumps(laps_text(tuple(trail.laps)), allow_nan=False, ensure_ascii=False).encode()


def test_a_wait_of_no_length_is_none():
    now_s = 10.0
    trail = Trail(lambda: now_s)

    trail.waited("queue", trail.now_us() - SHORTEST_US + 1)
    trail.waited("queue", trail.now_us() - SHORTEST_US, place="local")

    assert trail.laps == [Lap("queue", 10_000_000 - SHORTEST_US, SHORTEST_US, {"place": "local"})]
