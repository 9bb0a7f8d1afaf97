"""Plans as YAML and JSON: they read back as they were written, and bad documents get a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from coterie import ForEach, Plan, Retry, Task, When
from coterie._plan_format import task_from_dict
from coterie.errors import CycleFound, DuplicateTask, Misuse, PlanError
from coterie.plan import MAX_PLAN_BYTES
from tests.core.random_plans import Story, stories

FULL = Plan(
    "full",
    [
        Task("a", "lister", input={"path": {"$param": "path"}, "n": [1, 2.5, None, True, "é", {}]}, priority=-2),
        Task("b", "checker", foreach=ForEach(task="a", pointer="/files", key="/p", bind="f", tolerate_failures=0.25)),
        Task("c", "checker", foreach=ForEach(items=[1, {"k": []}], tolerate_failures=1), timeout_s=1.5),
        Task("d", "x", depends_on=["b", "c"], trigger_rule="none_failed", when=When("a", "/n", "in", [1, None])),
        Task("e", "x", depends_on=["d"], trigger_rule="all_done", retry=Retry(max_attempts=5, base_s=0, cap_s=9)),
    ],
    params={"path": ".", "deep": {"x": [1]}},
    outputs=["e", "b"],
)


def document(**fields: Any) -> dict[str, Any]:
    return {"name": "p", "tasks": [{"id": "a", "agent_type": "x", **fields}]}


@pytest.mark.parametrize(("write", "read"), [(Plan.to_json, Plan.from_json), (Plan.to_yaml, Plan.from_yaml)])
def test_a_plan_reads_back_as_it_was_written(write: Any, read: Any):
    again = read(write(FULL))

    assert again == FULL
    assert again.hash == FULL.hash


@settings(max_examples=50, deadline=None)
@given(stories())
def test_any_plan_reads_back_as_it_was_written(story: Story):
    assert Plan.from_json(story.plan.to_json()) == story.plan
    assert Plan.from_yaml(story.plan.to_yaml()).hash == story.plan.hash


@given(st.randoms(use_true_random=False))
def test_the_order_of_fields_in_a_document_changes_no_hash(random: Any):
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in random.sample(list(value), len(value))}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    assert Plan.from_dict(shuffled(FULL.to_dict())).hash == FULL.hash


def test_whole_numbers_of_seconds_hash_as_in_python():
    written = Plan.from_yaml("name: p\ntasks:\n  - {id: a, agent_type: x, timeout_s: 60, retry: {base_s: 1}}")

    assert written.hash == Plan("p", [Task("a", "x", timeout_s=60, retry=Retry(base_s=1))]).hash


@pytest.mark.parametrize(
    ("name", "text"), [("p.json", FULL.to_json()), ("p.yaml", FULL.to_yaml()), ("p.yml", FULL.to_json())]
)
def test_a_plan_is_read_from_a_file(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text, "utf-8")

    assert Plan.from_file(tmp_path / name) == FULL


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "the plan is a list; a plan is a mapping with name and tasks"),
        ({"name": "p"}, "the plan is wrong at tasks: Field required"),
        ({"name": "p", "tasks": {}}, "at tasks: Input should be a valid list"),
        ({"name": "p", "tasks": []}, "the plan 'p' has no tasks"),
        ({"name": 5, "tasks": []}, "at name: Input should be a valid string"),
        ({**document(), "extra": 1}, "at extra: unknown field, known are name, tasks, params, outputs, saga"),
        ("name", "the plan is a text; a plan is a mapping with name and tasks"),
        (document(timout_s=5), "at tasks/0/timout_s: unknown field, did you mean 'timeout_s'?"),
        (document(agent_type=None), "at tasks/0/agent_type: "),
        (document(id="a b"), "task id 'a b'"),
        (document(trigger_rule="never"), "at tasks/0/trigger_rule: .*'all_success'"),
        (document(timeout_s=-1), "timeout_s of 'a' is -1"),
        (document(depends_on="b"), "at tasks/0/depends_on: "),
        (document(depends_on=["b"]), "'a' refers to the task 'b'"),
        (document(foreach={"task": "b", "items": [1]}), "foreach needs either"),
        (document(foreach={"tsak": "b"}), "at tasks/0/foreach/tsak: unknown field, did you mean 'task'?"),
        (document(retry={"xyz": 1}), "at tasks/0/retry/xyz: unknown field, known are max_attempts, base_s, cap_s"),
        (document(retry={"max_attempts": 0}), "retry needs"),
        (document(input={"n": float("nan")}), "input of 'a'/n is nan"),
    ],
)
def test_a_wrong_document_is_refused_with_its_place(wrong: Any, message: str):
    with pytest.raises(Misuse, match=message):
        Plan.from_dict(wrong)


def test_what_python_refuses_a_document_may_not_say_either():
    with pytest.raises(DuplicateTask):
        Plan.from_json('{"name": "p", "tasks": [{"id": "a", "agent_type": "x"}, {"id": "a", "agent_type": "x"}]}')
    with pytest.raises(CycleFound, match="a -> a"):
        Plan.from_yaml("name: p\ntasks: [{id: a, agent_type: x, depends_on: [a]}]")


def test_every_mistake_of_a_document_is_told_and_unknown_fields_first():
    wrong = {"name": "p", "tasks": [{"id": "a", "agent_typ": "x"}, {"id": "b", "agent_type": "x", "timeout_s": -1}]}

    with pytest.raises(PlanError) as caught:
        Plan.from_dict(wrong)

    assert str(caught.value) == (
        "the plan is wrong at tasks/0/agent_typ: unknown field, did you mean 'agent_type'?; "
        "at tasks/0/agent_type: Field required; "
        "at tasks/1: timeout_s of 'b' is -1.0; give a number of seconds > 0"
    )


def test_of_many_mistakes_eight_are_told():
    wrong = {"name": "p", "tasks": [{"id": f"t{number}"} for number in range(20)]}

    with pytest.raises(PlanError, match=r"at tasks/7/agent_type: Field required; and 12 more$"):
        Plan.from_dict(wrong)


def test_a_task_s_unknown_field_is_told_as_a_plan_s():
    with pytest.raises(
        PlanError, match=r"^the plan is wrong at agent_typ: unknown field, did you mean 'agent_type'\?; "
    ):
        task_from_dict({"id": "a", "agent_typ": "x"})


@pytest.mark.parametrize("text", ["", " \n", "# nothing but a comment", "---\n"])
def test_an_empty_text_is_told_as_empty(text: str):
    with pytest.raises(PlanError, match="the plan is empty; give it a name and tasks"):
        Plan.from_yaml(text)


@pytest.mark.parametrize("read", [Plan.from_yaml, Plan.from_json])
def test_bytes_that_are_not_text_are_told_as_such(read: Any):
    with pytest.raises(PlanError, match=r"the plan is not text: .* at position 0; save it as UTF-8"):
        read(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "p.yaml",
            "a: [b:\n  c",
            "the plan is not YAML at line 3, column 1: while parsing a flow sequence that begins in line 1",
        ),
        ("p.yaml", "name: p\ntasks: b: c", "the plan is not YAML at line 2, column 9: mapping values are not allowed"),
        ("p.json", '{\n"name": }', "the plan is not JSON at line 2, column 9: Expecting value"),
        ("p.json", "", "the plan is empty"),
        ("p.yaml", "- a", "the plan is a list; "),
        ("p.yaml", "name: p\ntasks: [{id: a}]", "the plan is wrong at tasks/0/agent_type: Field required"),
        ("p.yaml", "name: p\ntasks: [{id: a b, agent_type: x}]", "task id 'a b'"),
    ],
)
def test_what_is_wrong_with_a_file_names_the_file(tmp_path: Path, name: str, text: str, message: str):
    (tmp_path / name).write_text(text)

    with pytest.raises(Misuse) as caught:
        Plan.from_file(tmp_path / name)

    assert str(caught.value).startswith(f"plan {str(tmp_path / name)!r}: {message}")
    assert "<" not in str(caught.value)


def test_an_error_that_names_the_file_keeps_its_class_and_what_it_carries(tmp_path: Path):
    (tmp_path / "p.yaml").write_text("name: p\ntasks: [{id: a, agent_type: x, depends_on: [a]}]")

    with pytest.raises(CycleFound, match=r"p\.yaml': tasks wait for each other: a -> a") as caught:
        Plan.from_file(tmp_path / "p.yaml")

    assert caught.value.path == ("a", "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: p\ntasks: []\ntasks: []\n", "the plan says 'tasks' twice, in line 2 and in line 3; keep one of them"),
        ("name: p\ntasks:\n- {id: a, 'id': b, agent_type: x}\n", "says 'id' twice, in line 3 and in line 3"),
        ("name: p\nparams: {1: a, 1: b}\ntasks: []", "says 1 twice"),
        ("name: p\nbase: &b {x: 1, x: 2}\nparams: {<<: *b}\ntasks: []", "says 'x' twice"),
    ],
)
def test_a_key_that_yaml_says_twice_is_refused_with_its_lines(text: str, message: str):
    with pytest.raises(PlanError, match=message):
        Plan.from_yaml(text)


def test_a_key_that_json_says_twice_is_refused():
    with pytest.raises(PlanError, match="the plan says 'agent_type' twice in one object; keep one of them"):
        Plan.from_json('{"name": "p", "tasks": [{"id": "a", "agent_type": "x", "agent_type": "y"}]}')


@pytest.mark.parametrize("text", ["{", "[1,", '{"name": "p" "tasks"}', f'{{"n": {"1" * 5000}}}'])
def test_text_that_is_not_json_is_refused(text: str | bytes):
    with pytest.raises(PlanError, match="not JSON"):
        Plan.from_json(text)


@pytest.mark.parametrize("text", ["a: [", "\t- x", "a: b: c", "%TAG", "a: 2026-99-99", "a: !!int ''"])
def test_text_that_is_not_yaml_is_refused(text: str | bytes):
    with pytest.raises(PlanError, match="not YAML"):
        Plan.from_yaml(text)


def test_yaml_makes_no_objects(tmp_path: Path):
    proof = tmp_path / "proof"

    with pytest.raises(PlanError, match="not YAML"):
        Plan.from_yaml(f"name: !!python/object/apply:os.mkdir [{proof}]\ntasks: []")

    assert not proof.exists()


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 5000000 values"),
        ("name: p\ntasks: &a [*a]\n", "nested more than 200 deep"),
        ("[" * 100_000, "nested more than 200 deep"),
        ("- " * 100_000, "nested more than 200 deep"),
        ("{a: " * 20_000 + "1" + "}" * 20_000, "nested more than 200 deep"),
        ("\n".join("  " * i + "a:" for i in range(400)), "nested more than 200 deep"),
    ],
    ids=["aliases", "self", "brackets", "dashes", "braces", "indent"],
)
def test_a_yaml_bomb_is_refused_and_the_process_lives(text: str, message: str):
    program = (
        "import sys; from coterie import Plan\n"
        "try: Plan.from_yaml(sys.stdin.read())\n"
        "except Exception as error: print(type(error).__name__, error)"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], input=text, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("PlanError")
    assert message in ended.stdout


@pytest.mark.parametrize(
    "text", ["[" * 100_000, json.dumps(document(input={"a": "DEEP"})).replace('"DEEP"', "[" * 300 + "]" * 300)]
)
def test_deeply_nested_json_is_refused(text: str):
    with pytest.raises(PlanError, match="nested"):
        Plan.from_json(text)


def test_a_huge_text_is_not_parsed():
    with pytest.raises(PlanError, match=f"at most {MAX_PLAN_BYTES} are read"):
        Plan.from_json(" " * (MAX_PLAN_BYTES + 1))


def test_a_file_without_an_end_is_not_read_to_its_end():
    with pytest.raises(PlanError, match=f"'/dev/zero' has more than {MAX_PLAN_BYTES} bytes"):
        Plan.from_file("/dev/zero")


@pytest.mark.parametrize("name", ["gone.yaml", ".", "nul\0.json"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str):
    with pytest.raises(PlanError, match=r"cannot read the plan file .* check the path"):
        Plan.from_file(tmp_path / name)


def test_ten_thousand_tasks_are_read_from_yaml_and_json():
    plan = Plan("big", [Task(f"t{i}", "x", depends_on=[f"t{i // 2}"] if i else []) for i in range(10_000)])
    lines = [f"- {{id: t{i}, agent_type: x, depends_on: [t{i // 2}]}}" for i in range(1, 10_000)]
    text = "\n".join(["name: big", "tasks:", "- {id: t0, agent_type: x}", *lines])

    assert Plan.from_json(plan.to_json()).hash == plan.hash
    assert Plan.from_yaml(text).hash == plan.hash


def merging(levels: int, width: int) -> str:
    """A few lines whose merge keys stand for `width ** levels` entries."""
    first = "a0: &a0 {" + ", ".join(f"k{n}: 0" for n in range(width)) + "}"
    more = [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * width)}]}}" for n in range(1, levels)]
    return "\n".join(
        ["name: p", "tasks: [{id: a, agent_type: x}]", "params:", *(f"  {line}" for line in (first, *more))]
    )


def test_merge_keys_put_one_mapping_into_another():
    text = "name: p\ntasks:\n- &first {id: a, agent_type: x, priority: 2}\n- {<<: [*first], id: b}\n"

    assert Plan.from_yaml(text) == Plan("p", [Task("a", "x", priority=2), Task("b", "x", priority=2)])
    assert Plan.from_yaml(merging(3, 4)).params["a2"] == dict.fromkeys(["k0", "k1", "k2", "k3"], 0)


def test_a_merged_key_may_be_said_again_wherever_it_is_merged():
    text = (
        "name: p\nparams:\n  one: &one {a: 1, b: 1}\n  two: &two {<<: *one, b: 2}\n"
        "  three: {<<: [*two, *one], b: 3}\n  four: {<<: *two, <<: *one}\ntasks: [{id: a, agent_type: x}]\n"
    )

    params = Plan.from_yaml(text).params

    assert (params["two"], params["three"]) == ({"a": 1, "b": 2}, {"a": 1, "b": 3})


def test_merge_keys_that_multiply_are_refused_before_they_fill_the_memory():
    with pytest.raises(PlanError, match="merge keys"):
        Plan.from_yaml(merging(30, 10))


# The JSON Schema.


def violations(schema: dict[str, Any], document: Any) -> list[str]:
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(document)]


@settings(max_examples=50, deadline=None)
@given(stories())
def test_the_schema_takes_every_plan(story: Story):
    assert violations(Plan.json_schema(), story.plan.to_dict()) == []


def test_the_schema_takes_a_plan_with_everything_in_it():
    assert violations(Plan.json_schema(), FULL.to_dict()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "p"},
        {**document(), "extra": 1},
        document(timout_s=1),
        document(trigger_rule="never"),
        document(priority="high"),
        document(retry={"attempts": 1}),
        document(depends_on="b"),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(wrong: Any):
    assert violations(Plan.json_schema(), wrong)
    with pytest.raises(Misuse):
        Plan.from_dict(wrong)


def test_the_schema_is_json_itself():
    schema = Plan.json_schema()

    assert json.loads(json.dumps(schema)) == yaml.safe_load(yaml.safe_dump(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("text", ["a\x85b", "\x85", "é\x85\u2028\n"])
def test_a_text_with_a_sign_that_ends_lines_reads_back_as_it_was_written(text: str):
    plan = Plan("p", [Task("a", "x", input={"text": text, text: 1})])

    assert Plan.from_yaml(plan.to_yaml()).hash == plan.hash
