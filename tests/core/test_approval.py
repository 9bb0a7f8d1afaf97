"""What a plan may ask a person: which approvals are refused, and how they travel in documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie import Approval, Compensation, Field, ForEach, Plan, Retry, Task, Team, When
from coterie.decompose.limits import PlanLimits, admit
from coterie.errors import Misuse, PlanError, PolicyError, UnknownAgentType

QUOTED = '"yes"'
QUOTED = '"yes"'
BAD: list[tuple[dict[str, Any], str]] = [
    ({"question": ""}, "1 to 500 characters"),
    ({"question": "x" * 501}, "1 to 500 characters"),
    ({"question": "a\nb"}, "control characters"),
    ({"question": "\u202egnp"}, "control characters"),
    ({"question": 3}, "give a text"),
    ({"choices": ()}, "no choices"),
    ({"choices": "yes"}, "give a list"),
    ({"choices": [["a"]]}, "give plain values"),
    ({"choices": ["a b"], "rejects": ()}, "not a usable name"),
    ({"choices": [f"c{number}" for number in range(21)], "rejects": ()}, "at most 20"),
    ({"rejects": ["no"]}, "'no' is none of its choices$"),
    ({"choices": ["go"]}, "that is the default: say which choices reject, or rejects: \\[\\] if none does"),
    ({"choices": ["no"], "rejects": ["no"]}, "all of its choices"),
    ({"timeout_s": 0}, "seconds > 0"),
    ({"timeout_s": True}, "seconds > 0"),
    ({"timeout_s": float("inf")}, "seconds > 0"),
    ({"on_timeout": "approve"}, "no timeout_s"),
    ({"timeout_s": 1, "on_timeout": "maybe"}, "no such choice"),
    ({"timeout_s": 1, "on_timeout": "approve", "fields": {"n": Field(required=True)}}, "nobody fills in then"),
    ({"fields": [1]}, "a dict"),
    ({"fields": {"n": 1}}, "coterie.Field"),
    ({"fields": {"note": Field()}}, "as every form has"),
    ({"fields": {"a b": Field()}}, "not a usable name"),
    ({"fields": {f"f{number}": Field() for number in range(21)}}, "at most 20"),
    ({"assignees": ["a\x00"]}, "control characters"),
    ({"assignees": "ann"}, "give a list"),
    ({"assignees": [f"a{number}" for number in range(101)]}, "at most 100"),
]


@pytest.mark.parametrize(("wrong", "told"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_an_approval_that_cannot_work_is_refused_by_name(wrong: dict[str, Any], told: str):
    with pytest.raises(PolicyError, match=told):
        Approval(**{"question": "Go?", **wrong})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"type": "date"}, "string, integer, number, boolean"),
        ({"type": "integer", "default": 1.5}, "of the type integer"),
        ({"type": "boolean", "default": 1}, "of the type boolean"),
        ({"default": "c", "choices": ["a", "b"]}, "none of its choices"),
        ({"choices": [1]}, "give a text"),
        ({"required": 1}, "true or false"),
        ({"title": "\x07"}, "control characters"),
    ],
)
def test_a_field_that_cannot_work_is_refused_by_name(options: dict[str, Any], told: str):
    with pytest.raises(PolicyError, match=told):
        Field(**options)


def test_a_choice_that_yaml_reads_as_a_truth_value_is_to_be_quoted():
    tasks = "tasks: [{id: a, agent_type: e, approval: {question: Go?, choices: [%s], rejects: []}}]"

    with pytest.raises(
        PlanError, match=r"choices/0: a truth value, .* YAML reads yes, on and true so; put the word in"
    ):
        Plan.from_yaml(f"name: p\n{tasks % 'yes'}")

    assert Plan.from_yaml(f"name: p\n{tasks % QUOTED}").tasks[0].approval == Approval(
        "Go?", choices=["yes"], rejects=[]
    )


@pytest.mark.parametrize(
    "beside",
    [
        {"retry": Retry()},
        {"foreach": ForEach(items=[1])},
        {"compensation": Compensation("undoer")},
        {"timeout_s": 5},
    ],
    ids=str,
)
def test_what_is_for_agents_does_not_stand_beside_an_approval(beside: dict[str, Any]):
    with pytest.raises(PolicyError, match=next(iter(beside))):
        Task("ask", "editor", approval=Approval("Go?"), **beside)


def test_what_is_no_approval_is_refused():
    with pytest.raises(Misuse, match="pass a Approval"):
        Task("ask", "editor", approval="Go?")  # type: ignore[arg-type]  # on purpose


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
FIELDS = st.one_of(
    st.builds(Field, st.just("integer"), default=st.none() | st.integers(-9, 9), required=st.booleans()),
    st.builds(Field, st.just("boolean"), default=st.none() | st.booleans(), title=st.sampled_from(["", "Really?"])),
    st.builds(Field, st.just("string"), choices=st.lists(NAMES, max_size=3)),
    st.builds(Field, st.just("number"), default=st.none() | st.floats(-9, 9)),
)
APPROVALS = st.builds(
    Approval,
    st.text("abc ?", min_size=1, max_size=9),
    choices=st.just(("approve", "later", "reject")),
    rejects=st.sampled_from([(), ("reject",), ("reject", "later")]),
    fields=st.dictionaries(NAMES.filter(lambda name: name not in ("choice", "note")), FIELDS, max_size=3),
    timeout_s=st.none() | st.floats(1, 99),
    assignees=st.lists(NAMES, max_size=2),
)


@given(approval=APPROVALS)
def test_a_plan_is_the_same_after_json_and_yaml(approval: Approval):
    plan = Plan("p", [Task("ask", "editor", approval=approval)])

    for back in (Plan.from_json(plan.to_json()), Plan.from_yaml(plan.to_yaml())):
        assert back == plan
        assert back.hash == plan.hash
    assert Approval.from_dict(approval.to_dict()) == approval


def test_a_plan_that_asks_nobody_has_the_hash_that_it_had():
    assert "approval" not in Plan("p", [Task("a", "x")]).to_dict()["tasks"][0]


@given(one=APPROVALS, other=APPROVALS)
def test_another_question_is_another_plan(one: Approval, other: Approval):
    plans = [Plan("p", [Task("ask", "editor", approval=approval)]) for approval in (one, other)]

    assert (one == other) == (plans[0].hash == plans[1].hash) == (one.version == other.version)


@pytest.mark.parametrize(
    ("approval", "told"),
    [
        ({"question": "Go?", "choces": []}, "did you mean 'choices'"),
        ({"question": "Go?", "fields": {"n": {"typ": "integer"}}}, "did you mean 'type'"),
        ({"question": "Go?", "fields": {"n": {"type": "date"}}}, "type"),
        ({}, "question"),
    ],
)
def test_a_mistake_in_a_document_is_told_with_its_place(approval: dict[str, Any], told: str):
    document = {"name": "p", "tasks": [{"id": "ask", "agent_type": "editor", "approval": approval}]}

    with pytest.raises(Misuse, match=told):
        Plan.from_dict(document)


def test_a_task_that_a_person_decides_has_a_shape_of_its_own():
    plan = Plan("p", [Task("ask", "editor", approval=Approval('"];evil'))])

    assert '    t0{{"ask<br/><i>editor</i>"}}\n' in plan.to_mermaid()
    assert "evil" not in plan.to_mermaid()


def test_no_agent_need_serve_the_role():
    team = Team("t")

    team.check(Plan("p", [Task("ask", "editor", approval=Approval("Go?"), when=None)]))

    with pytest.raises(UnknownAgentType):
        team.check(Plan("p", [Task("a", "x"), Task("ask", "editor", approval=Approval("Go?"), when=When("a"))]))


def test_a_model_s_plan_asks_nobody():
    plan = Plan("p", [Task("ask", "editor", approval=Approval("Go?"))])

    with pytest.raises(PlanError, match="leave approval out"):
        admit(plan.to_dict(), PlanLimits(), ["editor"])
