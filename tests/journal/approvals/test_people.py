"""Who is asked: what waits for them, which answers are refused, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie import Approval, Decision, Field
from coterie._rules.approval_answer import checked
from coterie.errors import Misuse, NotAsked, StateFormatError, UnknownRun
from tests.journal.approvals.conftest import RUN, Desk, plan_of

APPROVAL = Approval(
    "Publish?",
    choices=("approve", "later", "reject"),
    fields={
        "copies": Field("integer", required=True),
        "price": Field("number", default=1.5),
        "urgent": Field("boolean"),
        "where": Field("string", choices=("here", "there")),
    },
    assignees=("ann", "bob@example.com"),
)
GOOD: dict[str, Any] = {"choice": "approve", "by": "ann", "values": {"copies": 2}}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"choice": "maybe"}, "one of 'approve', 'later', 'reject'"),
    ({"choice": ""}, "one of 'approve'"),
    ({"by": "eve"}, "one of 'ann', 'bob@example.com' may"),
    ({"by": "timeout"}, "another name"),
    ({"by": ""}, "1 to 200 characters"),
    ({"by": "a" * 201}, "1 to 200 characters"),
    ({"by": "an\x1bn"}, "control characters"),
    ({"note": "x" * 2001}, "0 to 2,000 characters"),
    ({"note": "\x1b[2J"}, "control characters"),
    ({"note": "\ud800"}, "halves of characters"),
    ({"note": 3}, "give a text"),
    ({"values": {}}, "'copies' is required"),
    ({"values": {"copies": None}}, "'copies' is required"),
    ({"values": {"copies": 1.5}}, "of the type integer"),
    ({"values": {"copies": True}}, "of the type integer"),
    ({"values": {"copies": "2"}}, "of the type integer"),
    ({"values": {"copies": 2**63}}, "of the type integer"),
    ({"values": {"copies": 2, "price": float("nan")}}, "of the type number"),
    ({"values": {"copies": 2, "price": "cheap"}}, "of the type number"),
    ({"values": {"copies": 2, "urgent": 1}}, "of the type boolean"),
    ({"values": {"copies": 2, "where": "nowhere"}}, "one of 'here', 'there'"),
    ({"values": {"copies": 2, "colour": "red"}}, "has no field 'colour'"),
    ({"values": [1]}, "by the name of each field"),
]


@pytest.mark.parametrize(("wrong", "told"), BAD, ids=[told for _, told in BAD])
async def test_a_bad_answer_is_refused_with_what_is_allowed_and_nothing_changes(
    desk: Desk, wrong: dict[str, Any], told: str
):
    running = desk.start(plan_of(APPROVAL))
    await desk.asked()
    before = await desk.store.read(RUN)

    with pytest.raises(Misuse, match=told):
        await desk.people.answer(RUN, "sign-off", **{**GOOD, **wrong})

    assert await desk.store.read(RUN) == before
    await desk.people.answer(RUN, "sign-off", **GOOD)
    assert (await desk.ended(running)).status == "succeeded"


async def test_who_rejects_need_not_fill_in_what_is_required(desk: Desk):
    running = desk.start(plan_of(APPROVAL))
    await desk.asked()

    decision = await desk.people.answer(RUN, "sign-off", "reject", by="ann")

    assert decision.values == {"price": 1.5}
    await desk.ended(running)


async def test_lines_of_a_note_from_a_form_are_kept(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()

    decision = await desk.people.answer(RUN, "sign-off", "approve", by="ann", note="one\r\ntwo")

    assert decision.note == "one\ntwo"
    await desk.ended(running)


async def test_a_run_that_nobody_knows_and_a_task_that_asks_nothing_are_told(desk: Desk):
    with pytest.raises(UnknownRun):
        await desk.people.answer("nobody", "sign-off", "approve", by="ann")
    with pytest.raises(UnknownRun):
        await desk.people.pending("nobody")
    running = desk.start(plan_of())
    await desk.asked()

    with pytest.raises(NotAsked, match="the run asks: 'sign-off'"):
        await desk.people.answer(RUN, "draft", "approve", by="ann")
    with pytest.raises(Misuse):
        await desk.people.answer(RUN, "no/name", "approve", by="ann")

    await desk.dies(running)


async def test_what_waits_is_listed_for_all_runs_and_for_one(desk: Desk):
    for number in range(3):
        desk.start(plan_of(), run=f"r{number}")
    await desk.until(lambda: len(desk.told("approval.asked")) == 3)

    assert {one.workflow_id for one in await desk.people.pending()} == {"r0", "r1", "r2"}
    assert [one.workflow_id for one in await desk.people.pending("r1")] == ["r1"]
    assert len(await desk.people.pending(limit=2)) == 2
    with pytest.raises(Misuse):
        await desk.people.pending(limit=0)


async def test_what_is_decided_waits_no_longer_and_can_still_be_seen(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()
    decision = await desk.people.answer(RUN, "sign-off", "approve", by="ann")
    await desk.ended(running)

    assert await desk.people.pending() == []
    assert [one.decision for one in await desk.people.of_run(RUN)] == [decision]


async def test_a_text_of_a_newer_coterie_or_a_damaged_one_is_told(desk: Desk):
    running = desk.start(plan_of())
    await desk.asked()
    await desk.dies(running)
    for text, told in (('{"v":99}', "reads up to"), ('{"v":1,"asked":{}}', "not whole"), ("[]", "none of ours")):
        await desk.store.write(RUN, {"approval/sign-off": text})

        with pytest.raises(StateFormatError, match=told):
            await desk.people.answer(RUN, "sign-off", "approve", by="ann")


TEXTS = st.text(max_size=30)
ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.lists(st.integers(), max_size=2))


@given(
    choice=st.one_of(st.sampled_from(APPROVAL.choices), ANYTHING),
    by=st.one_of(st.sampled_from(APPROVAL.assignees), ANYTHING),
    note=st.one_of(TEXTS, ANYTHING),
    values=st.one_of(st.dictionaries(st.sampled_from(["copies", "price", "urgent", "where", "x"]), ANYTHING), ANYTHING),
)
def test_whatever_is_given_it_is_taken_whole_or_refused_by_name(choice: Any, by: Any, note: Any, values: Any):
    given_ = Decision(choice, by, 1.0, note, values)
    try:
        found = checked(APPROVAL, given_)
    except Misuse:
        return
    assert found.choice in APPROVAL.choices
    assert found.by in APPROVAL.assignees
    assert found.values.keys() <= APPROVAL.fields.keys()
    assert "copies" in found.values or found.choice in APPROVAL.rejects
    # What was taken is taken again as it is.
    assert checked(APPROVAL, found) == found
