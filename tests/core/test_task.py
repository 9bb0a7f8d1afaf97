"""What a task, its policies and its input may be; each refusal names the culprit and the next step."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import Any

import pytest

from coterie import ForEach, Retry, Task, When
from coterie.errors import Misuse, PolicyError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": ""}, "task id ''"),
        ({"id": "a.b"}, "task id 'a.b'"),
        ({"id": "../a"}, "task id '../a'"),
        ({"id": "é"}, "task id 'é'"),
        ({"id": "a" * 129}, "use 1 to 128 letters"),
        ({"id": 7}, "task id 7"),
        ({"id": "a\n"}, "is not a usable name"),
        ({"agent_type": "has space"}, "agent type of 'a' 'has space'"),
        ({"input": [1]}, r"the input of 'a' is \[1\]; pass a JSON object"),
        ({"input": {"x": {1, 2}}}, "input of 'a'/x is a set, not JSON"),
        ({"input": {"x": [0, float("nan")]}}, "input of 'a'/x/1 is nan, which JSON cannot say"),
        ({"input": {"x": {3: 4}}}, "input of 'a'/x has the key 3, which is not a string"),
        ({"input": {"x": b"bytes"}}, "input of 'a'/x is a bytes"),
        ({"depends_on": "b"}, "depends_on of 'a' is 'b'; pass a list of task ids"),
        ({"depends_on": [1]}, r"depends_on of 'a' is \[1\]"),
        ({"depends_on": [{}]}, "pass a list of task ids"),
        ({"depends_on": None}, "pass a list of task ids"),
        ({"depends_on": 5}, "pass a list of task ids"),
        ({"trigger_rule": "sometimes"}, "'a' has the trigger rule 'sometimes'; use one of all_success"),
        ({"timeout_s": 0}, "timeout_s of 'a' is 0; give a number of seconds > 0"),
        ({"timeout_s": float("inf")}, "timeout_s of 'a' is inf"),
        ({"timeout_s": float("nan")}, "timeout_s of 'a' is nan"),
        ({"timeout_s": "60"}, "timeout_s of 'a' is '60'"),
        ({"timeout_s": True}, "timeout_s of 'a' is True"),
        ({"priority": "high"}, "priority of 'a' is 'high'; give a whole number"),
        ({"priority": 1.5}, "priority of 'a' is 1.5"),
        ({"retry": 3}, "retry of 'a' is 3; pass a Retry"),
        ({"when": "b"}, "when of 'a' is 'b'; pass a When"),
        ({"foreach": ["x"]}, "pass a ForEach"),
    ],
)
def test_a_task_that_cannot_work_is_refused(fields: dict[str, Any], message: str):
    with pytest.raises(Misuse, match=message):
        Task(**{"id": "a", "agent_type": "x", **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"max_attempts": 0},
        {"max_attempts": 2.5},
        {"max_attempts": True},
        {"base_s": -1},
        {"base_s": 5, "cap_s": 1},
        {"base_s": float("nan")},
        {"cap_s": float("inf")},
        {"base_s": "1"},
    ],
)
def test_a_retry_that_cannot_work_is_refused(fields: dict[str, Any]):
    with pytest.raises(PolicyError, match="retry needs a whole number max_attempts >= 1"):
        Retry(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either task .* or items"),
        ({"task": "b", "items": []}, "either task .* or items"),
        ({"task": "b", "pointer": "files"}, "a JSON pointer is empty or starts with '/'"),
        ({"task": "b", "key": "name"}, "foreach key has the pointer 'name'"),
        ({"task": "b", "tolerate_failures": -1}, "count .* or a share"),
        ({"task": "b", "tolerate_failures": 1.5}, "share from 0.0 to 1.0, got 1.5"),
        ({"task": "b", "tolerate_failures": float("nan")}, "got nan"),
        ({"task": "b", "tolerate_failures": True}, "got True"),
        ({"task": "b", "tolerate_failures": "1"}, "got '1'"),
        ({"task": "b", "bind": ""}, "foreach has bind ''"),
        ({"items": "text"}, "foreach has the items 'text'; give a list"),
        ({"items": {"a": 1}}, "give a list"),
        ({"items": [object()]}, "foreach items/0 is a object, not JSON"),
    ],
)
def test_a_foreach_that_cannot_work_is_refused(fields: dict[str, Any], message: str):
    with pytest.raises(Misuse, match=message):
        ForEach(**fields)


def test_a_condition_with_an_unknown_operator_is_refused():
    with pytest.raises(PolicyError, match="operator 'like'; use one of eq, ne"):
        When("b", "/x", "like")  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize("reads", [{"foreach": ForEach(task="list")}, {"when": When("list", "/go")}])
def test_one_success_may_not_start_before_the_task_whose_output_it_reads(reads: dict[str, Any]):
    with pytest.raises(PolicyError, match="'a' reads the output of 'list', and the trigger rule one_success"):
        Task("a", "x", depends_on=["b"], trigger_rule="one_success", **reads)

    assert Task("a", "x", trigger_rule="one_success", **reads).upstream == ("list",)


def test_the_upstream_tasks_are_all_that_it_reads_each_once():
    task = Task("a", "x", depends_on=["b", "c", "b"], foreach=ForEach(task="list"), when=When("c"))

    assert task.depends_on == ("b", "c")
    assert task.upstream == ("b", "c", "list")


def test_the_input_is_a_plain_copy():
    class Colour(enum.StrEnum):
        RED = "red"

    class Level(enum.IntEnum):
        HIGH = 3

    given = MappingProxyType({"a": (1, Colour.RED), "b": {Colour.RED: Level.HIGH}})

    task = Task("a", "x", input=given)

    assert task.input == {"a": [1, "red"], "b": {"red": 3}}
    assert type(task.input["a"][1]) is str  # type: ignore[index,call-overload]  # a list
    assert type(task.input["b"]["red"]) is int  # type: ignore[index,call-overload]  # an object


def test_input_that_holds_itself_is_refused():
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(Misuse, match="nested more than 200 deep; flatten it"):
        Task("a", "x", input={"deep": endless})


def test_a_condition_compares_with_plain_json_however_it_is_written():
    assert When("a", "", "in", ("x", "y")) == When("a", "", "in", ["x", "y"])


def test_a_condition_on_what_is_no_json_is_refused():
    with pytest.raises(Misuse, match="when value is a set"):
        When("a", "", "in", {"x"})  # type: ignore[arg-type]
