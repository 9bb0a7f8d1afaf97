"""The rules that a model's plan is held to."""

from __future__ import annotations

import pytest

from coterie.decompose import PlanLimits
from coterie.decompose.limits import admit
from coterie.errors import PlanError, PolicyError

ALLOWED = ("linter", "reporter")
SMALL = PlanLimits(max_tasks=4, max_depth=3, max_fan_out=2, max_input_bytes=100, max_timeout_s=60)


def document(*tasks: dict, **fields: object) -> dict:
    return {"name": "plan", "tasks": list(tasks), **fields}


def task(task_id: str, *depends_on: str, **fields: object) -> dict:
    return {"id": task_id, "agent_type": "linter", "depends_on": list(depends_on), **fields}


def test_a_plan_within_the_limits_is_admitted():
    plan = admit(document(task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c")), SMALL, ALLOWED)

    assert [entry.id for entry in plan.tasks] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (document(*(task(f"t{n}") for n in range(5))), "the plan has 5 tasks; use at most 4"),
        (document(task("a"), task("b", "a"), task("c", "b"), task("d", "c")), "4 tasks wait for each other in a row"),
        (document(task("a"), task("b", "a"), task("c", "a"), task("d", "a")), "3 tasks wait for 'a'"),
        (document(task("a", foreach={"items": [1, 2, 3]})), "the foreach of 'a' lists 3 items"),
        (document(task("a", input={"text": "x" * 200})), "the input of 'a' has 2[0-9]+ bytes; give at most 100"),
        (document(task("a", foreach={"items": ["x" * 200]})), "the input of 'a' has"),
        (document(task("a"), task("b", when={"task": "a", "op": "eq", "value": "x" * 200})), "the input of 'b'"),
        (document(task("a", timeout_s=61)), "timeout_s of 'a' is 61; give at most 60"),
        (document(task("a", retry={"max_attempts": 9})), "'a' sets a retry or a priority"),
        (document(task("a", priority=9)), "'a' sets a retry or a priority"),
        (document(task("a"), params={"x": 1}), r"declares the parameters \['x'\]"),
        (document(task("a", input={"x": {"$param": "x"}})), "refers to the parameter 'x'"),
        (
            document(task("a", agent_type="shell")),
            "asks for the agent type 'shell'; a plan may use: 'linter', 'reporter'",
        ),
        (document(task("a", "b"), task("b", "a")), "wait for each other: a -> b -> a"),
        (document(task("a"), task("a")), "two tasks are called 'a'"),
        (document(task("a", "z")), "refers to the task 'z'"),
        (document(task("../a")), "'../a' is not a usable name"),
        (document(), "has no tasks"),
        (document(task("a"), extra=1), "extra"),
        (document(task("a", command=["rm"])), "command"),
        ({}, "name"),
        ([], "a plan is a mapping"),
    ],
)
def test_a_rule_that_is_broken_is_named(bad, reason):
    with pytest.raises(PlanError, match=reason):
        admit(bad, SMALL, ALLOWED)


def test_every_fault_is_told_at_once():
    bad = document(task("a", timeout_s=99), task("b", agent_type="shell"))

    with pytest.raises(PlanError, match=r"timeout_s of 'a'.*; the task 'b' asks for"):
        admit(bad, SMALL, ALLOWED)


def test_a_long_list_of_faults_is_cut():
    limits = PlanLimits(max_tasks=50)

    with pytest.raises(PlanError, match=r"and 20 more$"):
        admit(document(*(task(f"t{n}", agent_type="shell") for n in range(30))), limits, ALLOWED)


def test_a_document_far_beyond_the_limits_is_refused_unread():
    with pytest.raises(PlanError, match="longer than"):
        admit(document(task("a", input={"text": "x" * 10**6})), SMALL, ALLOWED)


def test_a_document_nested_beyond_all_measure_is_refused():
    nested: list = []
    for _ in range(5000):
        nested = [nested]

    with pytest.raises(PlanError):
        admit(document(task("a", input={"x": nested})), PlanLimits(), ALLOWED)


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(PolicyError, match="max_depth is 0"):
        PlanLimits(max_depth=0)
