"""What a person's demand makes of a run that was undone, decided over its texts."""

from __future__ import annotations

from typing import Any

import pytest

from coterie._rules.journal import RUN
from coterie._rules.journal_text import Claim, Record
from coterie._rules.saga_text import (
    MARKER,
    Demand,
    Marker,
    Unit,
    begin_anew,
    begin_undoing,
    hand_path,
    letter_path,
    settle,
    wanted,
)
from coterie.journal.place import place_of

NOBODY = Demand("airflow.d.r", 0, None, goes_on=False)
PERSON = NOBODY._replace(goes_on=True)
UNIT = Unit((place_of("a"),), place_of("undo-a"), "a")
OVER = Marker("failed", "compensated", given={"airflow.d.r": 0})


def record(state: str, epoch: int = 0) -> str:
    return Record(epoch, "f", {"state": state}, "local").text()


def texts(**more: str | None) -> dict[str, str | None]:
    own, undo = place_of("a"), place_of("undo-a")
    return {
        MARKER: OVER.text(),
        own.record: record("succeeded"),
        undo.record: record("succeeded"),
        **{
            {"own": own.record, "claim": own.claim, "undo": undo.record, "run": RUN.claim}.get(k, k): v
            for k, v in more.items()
        },
    }


@pytest.mark.parametrize(
    ("marker", "demand", "expected"),
    [
        (Marker("failed"), PERSON._replace(force="x", number=5), "undo"),
        (OVER, NOBODY, "undo"),
        (OVER, PERSON, "anew"),
        (Marker("failed", "compensation_failed"), PERSON, "undo"),
        (Marker("failed", "compensation_failed"), PERSON._replace(force="x"), "anew"),
        (Marker("failed", "compensated", forced=("x",)), NOBODY._replace(force="x"), "undo"),
        (OVER, NOBODY._replace(number=1), "anew"),
        (Marker("failed", "compensation_failed", given={"airflow.d.r": 0}), NOBODY._replace(number=1), "undo"),
        (OVER, NOBODY._replace(number=1, engine_run="another"), "undo"),
    ],
)
def test_a_run_goes_forward_again_only_if_nothing_is_half_done_and_a_person_asks(
    marker: Any, demand: Any, expected: str
):
    assert wanted(marker, demand) == expected


def test_a_run_that_was_never_undone_goes_forward():
    changed = begin_anew(texts() | {MARKER: None}, [UNIT], NOBODY)

    assert (changed.result, changed.texts) == (True, {})


def test_a_run_that_was_undone_does_not_go_forward_by_itself():
    changed = begin_anew(texts(), [UNIT], NOBODY)

    assert (changed.result, changed.texts) == (False, {})


@pytest.mark.parametrize(
    ("found", "epoch"),
    [
        (texts(), 1),
        (texts(own=record("succeeded", 3)), 4),
        (texts(own=record("failed", 2), claim=Claim(7, 5, "somebody").text()), 6),
        (texts(own=None, run=Claim(2, 8, "somebody").text()), 9),
        (texts(own=None), 1),
    ],
)
def test_what_was_undone_is_done_in_an_epoch_of_its_own(found: dict[str, str | None], epoch: int):
    changed = begin_anew(found, [UNIT], PERSON)

    own, undo = (Claim.read(changed.texts[place.claim], "claim") for place in (UNIT.own[0], UNIT.undo))
    assert own.epoch == epoch
    assert own.owner == ""
    assert undo.epoch > 0
    assert changed.texts[MARKER] is None


def test_what_was_not_undone_is_kept():
    changed = begin_anew(texts(undo=record("failed")), [UNIT], NOBODY._replace(force="x"))

    assert changed.result
    assert UNIT.own[0].claim not in changed.texts
    assert UNIT.undo.claim in changed.texts


def test_what_a_person_undid_is_undone():
    changed = begin_anew(texts(undo=None) | {hand_path("a"): "{}"}, [UNIT], PERSON)

    assert UNIT.own[0].claim in changed.texts
    assert changed.texts[hand_path("a")] is None


def test_whoever_says_first_why_a_run_is_undone_is_believed():
    first = begin_undoing({MARKER: None}, "cancelled", NOBODY._replace(force="x"))
    second = begin_undoing({MARKER: first.texts[MARKER]}, "failed", PERSON._replace(force="y", number=1))

    assert first.result == second.result == Marker("cancelled", None, ("x",), {"airflow.d.r": 0})
    assert second.texts == {}


def test_a_demand_that_came_while_a_run_was_undone_is_still_open_then():
    marker = begin_undoing({MARKER: None}, "failed", NOBODY).result
    late = NOBODY._replace(number=1)

    over = marker.closed("compensated", late)

    assert wanted(marker, late) == "undo"
    assert wanted(over, late) == "anew"
    assert wanted(over, NOBODY) == "undo"


def test_another_engine_that_was_told_the_outcome_is_answered():
    told = Demand("prefect.f", 3, None, goes_on=False)

    over = begin_undoing({MARKER: None}, "failed", NOBODY).result.closed("compensated", told)

    assert wanted(over, told) == "undo"
    assert wanted(over, told._replace(number=4)) == "anew"


def test_a_marker_reads_back_as_it_was_written():
    begun = begin_undoing({MARKER: None}, "failed", NOBODY._replace(force="x", number=2)).result

    assert Marker.read(begun.text()) == begun
    assert Marker.read(begun.closed("compensated", NOBODY).text()) == begun.closed("compensated", NOBODY)


def test_who_settles_a_letter_removes_it_and_lowers_their_number():
    left = Marker("failed", "compensation_failed", given={"airflow.d.r": 0}, left=2)

    changed = settle({MARKER: left.text(), letter_path("a"): "{}", hand_path("a"): None}, "a", "by me")

    assert changed.result == "by me"
    assert Marker.read(changed.texts[MARKER]) == Marker("failed", "compensation_failed", given=left.given, left=1)
    assert {path: changed.texts[path] for path in changed.texts if path != MARKER} == {
        letter_path("a"): None,
        hand_path("a"): "by me",
    }


@pytest.mark.parametrize("before", [None, "by another"])
def test_where_no_letter_is_nothing_is_settled_and_who_did_it_before_is_told(before: str | None):
    changed = settle({MARKER: OVER.text(), letter_path("a"): None, hand_path("a"): before}, "a", "by me")

    assert (changed.result, changed.texts) == (before, {})


def test_a_run_that_is_over_counts_what_it_left():
    begun = begin_undoing({MARKER: None}, "failed", NOBODY).result

    over = Marker.read(begun.closed("compensation_failed", NOBODY, left=3).text())

    assert over is not None
    assert (over.left, over.closed("compensated", NOBODY).left) == (3, 0)
