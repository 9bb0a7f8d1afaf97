"""Compensations in plans: their form, what is refused, and that plans without them are what they were."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from coterie import Agent, Plan, Retry, Task, Team
from coterie._rules.saga_policy import SagaPolicy
from coterie.errors import Misuse, PlanError, UnknownAgentType
from coterie.task import Compensation

UNDO = Compensation(
    "network-remover",
    input={"force": True, "region": {"$param": "region"}},
    retry=Retry(max_attempts=5),
    timeout_s=30,
    when="started",
)
PLAN = Plan(
    "provision",
    [
        Task("network", "network-maker", compensation=UNDO),
        Task("machine", "machine-maker", depends_on=["network"], compensation=Compensation("machine-remover")),
    ],
    params={"region": "north"},
    saga=SagaPolicy(fails_on="outputs", stop_on_failed_compensation=True),
)


def document(**fields: Any) -> dict[str, Any]:
    return {"name": "p", "tasks": [{"id": "a", "agent_type": "x", "compensation": {"agent_type": "y", **fields}}]}


@pytest.mark.parametrize(("write", "read"), [(Plan.to_json, Plan.from_json), (Plan.to_yaml, Plan.from_yaml)])
def test_a_plan_with_compensations_reads_back_as_it_was_written(write: Any, read: Any):
    again = read(write(PLAN))

    assert again == PLAN
    assert again.hash == PLAN.hash


def test_only_what_is_not_the_default_is_written():
    assert PLAN.to_dict() == {
        "name": "provision",
        "tasks": [
            {
                "id": "network",
                "agent_type": "network-maker",
                "compensation": {
                    "agent_type": "network-remover",
                    "input": {"force": True, "region": {"$param": "region"}},
                    "timeout_s": 30.0,
                    "retry": {"max_attempts": 5},
                    "when": "started",
                },
            },
            {
                "id": "machine",
                "agent_type": "machine-maker",
                "depends_on": ["network"],
                "compensation": {"agent_type": "machine-remover"},
            },
        ],
        "params": {"region": "north"},
        "saga": {"fails_on": "outputs", "stop_on_failed_compensation": True},
    }


def test_a_plan_without_compensations_is_hashed_as_ever():
    plan = Plan("p", [Task("a", "x")])

    assert plan.hash == Plan("p", [Task("a", "x", compensation=None)], saga=SagaPolicy()).hash
    assert plan.to_dict() == {"name": "p", "tasks": [{"id": "a", "agent_type": "x"}]}
    assert plan.saga == SagaPolicy()


def test_every_part_of_a_compensation_and_of_the_saga_is_part_of_the_hash():
    def build(saga: SagaPolicy | None = None, **fields: Any) -> str:
        return Plan("p", [Task("a", "x", compensation=Compensation(**{"agent_type": "y", **fields}))], saga=saga).hash

    hashes = {
        Plan("p", [Task("a", "x")]).hash,
        build(),
        build(agent_type="z"),
        build(input={"n": 1}),
        build(timeout_s=1),
        build(retry=Retry()),
        build(when="started"),
        build(SagaPolicy(fails_on="outputs")),
        build(SagaPolicy(stop_on_failed_compensation=True)),
    }

    assert len(hashes) == 9
    assert build(timeout_s=1) == build(timeout_s=1.0)


def test_the_schema_takes_a_plan_with_compensations():
    validator = Draft202012Validator(Plan.json_schema())

    assert [error.message for error in validator.iter_errors(PLAN.to_dict())] == []
    assert not validator.is_valid(document(when="always"))
    assert not validator.is_valid({**document(), "saga": {"fails_on": "all"}})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (document(agent_typ="z"), "at tasks/0/compensation/agent_typ: unknown field, did you mean 'agent_type'?"),
        (document(retry={"xyz": 1}), "at tasks/0/compensation/retry/xyz: unknown field, known are max_attempts"),
        (document(agent_type="a b"), "agent type of a compensation 'a b' is not a usable name"),
        (document(timeout_s=-1), "timeout_s of the compensation by 'y' is -1"),
        (document(when="always"), "at tasks/0/compensation/when: .*'succeeded' or 'started'"),
        (document(input={"n": float("nan")}), "input of the compensation by 'y'/n is nan"),
        (document(input={"n": {"$param": "q"}}), "input of the compensation of 'a' refers to the parameter 'q'"),
        ({**document(), "saga": {"fails": "any"}}, "at saga/fails: unknown field, did you mean 'fails_on'?"),
    ],
)
def test_a_wrong_document_is_refused_with_its_place(wrong: Any, message: str):
    with pytest.raises(Misuse, match=message.replace("?", r"\?")):
        Plan.from_dict(wrong)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": [1]}, r"the input of the compensation by 'y' is \[1\]; pass a JSON object"),
        ({"retry": 3}, "retry of the compensation by 'y' is 3; pass a Retry"),
        ({"timeout_s": True}, "timeout_s of the compensation by 'y' is True"),
        ({"when": "failed"}, "the compensation by 'y' has when='failed'; use one of succeeded, started"),
    ],
)
def test_a_compensation_that_cannot_work_is_refused(fields: dict[str, Any], message: str):
    with pytest.raises(Misuse, match=message):
        Compensation("y", **fields)


def test_what_is_no_compensation_or_saga_is_refused():
    with pytest.raises(Misuse, match="compensation of 'a' is 'y'; pass a Compensation"):
        Task("a", "x", compensation="y")  # type: ignore[arg-type]  # that is the test
    with pytest.raises(Misuse, match=r"saga is 'any'; pass coterie\.SagaPolicy"):
        Plan("p", [Task("a", "x")], saga="any")  # type: ignore[arg-type]  # that is the test


def test_a_compensation_has_a_name_that_no_task_of_the_plan_has():
    undone = Task("a", "x", compensation=Compensation("y"))

    assert undone.undo_id == "undo-a"
    with pytest.raises(PlanError, match="the compensation of 'a' is called 'undo-a', as is a task of the plan; rename"):
        Plan("p", [undone, Task("undo-a", "x")])
    assert Plan("p", [undone]).has_compensations
    assert not Plan("p", [Task("a", "x"), Task("undo-a", "x")]).has_compensations


def test_the_compensation_of_a_task_with_a_long_name_has_a_name_of_its_own():
    long, other = (Task("a" * 127 + last, "x").undo_id for last in "bc")

    assert len(long) <= 128
    assert long != other
    assert Task(long, "x").id == long


def test_a_compensation_that_nobody_in_the_team_serves_is_refused_before_anything_runs():
    team = Team("t", [Agent("a", "network-maker", dict), Agent("b", "machine-maker", dict)])
    team.add(Agent("c", "network-remover", dict))

    with pytest.raises(UnknownAgentType, match=r"'machine-remover' \(asked for by the task 'machine'\)") as caught:
        team.check(PLAN)
    team.add(Agent("d", "machine-remover", dict))
    team.check(PLAN)

    assert caught.value.task_id == "machine"


def test_a_drawing_says_who_undoes_what():
    assert PLAN.to_mermaid().splitlines() == [
        "flowchart TD",
        '    t0["network<br/><i>network-maker</i><br/>↩ <i>network-remover</i>"]',
        '    t1["machine<br/><i>machine-maker</i><br/>↩ <i>machine-remover</i>"]',
        "    t0 --> t1",
    ]
