"""Machines as YAML, JSON and diagrams: they read back as they were written, and bad documents get a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from coterie.errors import MachineError, Misuse
from coterie.machine import MAX_MACHINE_BYTES, StateMachine
from coterie.state import Action, Go, Guard, State
from coterie.task import Retry
from tests.journal.machine.worlds import machines

FULL = StateMachine(
    "full",
    [
        State(
            "draft",
            action=Action(
                "writer",
                input={
                    "topic": {"$param": "topic"},
                    "why": {"$data": "/event/payload/why", "default": None},
                    "n": [1, 2.5, None, True, "é", {}],
                },
                timeout_s=60,
                retry=Retry(max_attempts=5, base_s=0, cap_s=9),
                priority=-2,
            ),
            timeout_s=300,
            max_visits=5,
            transitions=[
                Go("review", when=[Guard("/score", "ge", 7.5), Guard("/tags", "in", ["a", None])]),
                Go("draft"),
                Go("lost", "failed"),
                Go("lost", "timeout"),
                Go("lost", "exhausted"),
            ],
        ),
        State("review", transitions=[Go("out", "approve"), Go("draft", "reject", when=[Guard()])]),
        State("out", final="succeeded"),
        State("lost", final="failed"),
    ],
    initial="draft",
    params={"topic": "agents", "deep": {"x": [1]}},
    max_steps=40,
)


def document(**fields: Any) -> dict[str, Any]:
    first = {"name": "a", "transitions": [{"to": "b", "trigger": "go"}], **fields}
    return {"name": "m", "initial": "a", "states": [first, {"name": "b", "final": "succeeded"}]}


@pytest.mark.parametrize(
    ("write", "read"), [(StateMachine.to_json, StateMachine.from_json), (StateMachine.to_yaml, StateMachine.from_yaml)]
)
def test_a_machine_reads_back_as_it_was_written(write: Any, read: Any):
    again = read(write(FULL))

    assert again == FULL
    assert again.hash == FULL.hash


@settings(max_examples=50, deadline=None)
@given(machines())
def test_any_machine_reads_back_as_it_was_written_and_fits_its_schema(machine: StateMachine):
    assert StateMachine.from_json(machine.to_json()) == machine
    assert StateMachine.from_yaml(machine.to_yaml()).hash == machine.hash
    Draft202012Validator(StateMachine.json_schema()).validate(machine.to_dict())


def test_the_hash_is_of_the_content():
    same = StateMachine.from_dict({**FULL.to_dict(), "states": [state | {} for state in FULL.to_dict()["states"]]})
    other = StateMachine("full", FULL.states, initial="draft", params=FULL.params, max_steps=41)

    assert same.hash == FULL.hash != other.hash


def test_whole_numbers_of_seconds_hash_as_in_python():
    first = "{name: a, timeout_s: 60, transitions: [{to: b, trigger: timeout}]}"

    written = StateMachine.from_yaml(f"{{name: m, initial: a, states: [{first}, {{name: b, final: failed}}]}}")

    states = [State("a", timeout_s=60, transitions=[Go("b", "timeout")]), State("b", final="failed")]
    assert written.hash == StateMachine("m", states, initial="a").hash


@pytest.mark.parametrize(
    ("name", "text"), [("m.json", FULL.to_json()), ("m.yaml", FULL.to_yaml()), ("m.yml", FULL.to_json())]
)
def test_a_machine_is_read_from_a_file(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text, "utf-8")

    assert StateMachine.from_file(tmp_path / name) == FULL


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "the machine is a list; a machine is a mapping with name, states and initial"),
        ("m", "the machine is a text"),
        ({"name": "m"}, "the machine is wrong at states: Field required; at initial: Field required"),
        ({**document(), "states": {}}, "at states: Input should be a valid list"),
        ({**document(), "extra": 1}, "at extra: unknown field, known are name, states, initial, params, max_steps"),
        ({**document(), "inital": "a"}, "at inital: unknown field, did you mean 'initial'"),
        (document(timout_s=5), "at states/0/timout_s: unknown field, did you mean 'timeout_s'?"),
        (document(action={"agent": "x"}), "at states/0/action/agent: unknown field, did you mean 'agent_type'?"),
        (
            document(action={"agent_type": "x", "retry": {"x": 1}}),
            "unknown field, known are max_attempts, base_s, cap_s",
        ),
        (
            document(transitions=[{"to": "b", "on": "go"}]),
            "at states/0/transitions/0/on: unknown field, known are to, trigger",
        ),
        (
            document(transitions=[{"to": "b", "trigger": True}]),
            "at states/0/transitions/0/trigger: a truth value, where a text should be",
        ),
        (document(transitions=[{"to": "b", "trigger": "x", "when": [{"pointr": "/a"}]}]), "did you mean 'pointer'?"),
        (document(transitions=[{"to": "c", "trigger": "x"}]), "the state 'a' goes on 'x' to 'c'"),
        (document(timeout_s=-1), "timeout_s of the state 'a' is -1"),
        (document(final="maybe"), "at states/0/final: Input should be 'succeeded' or 'failed'"),
        ({**document(), "initial": "c"}, "the machine 'm' begins in 'c'"),
        ({**document(), "max_steps": "many"}, "at max_steps: Input should be a valid integer"),
    ],
)
def test_a_wrong_document_is_refused_with_its_place(wrong: Any, message: str):
    with pytest.raises(Misuse) as caught:
        StateMachine.from_dict(wrong)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (StateMachine.from_yaml, "", "the machine is empty; give it a name, states and the initial one"),
        (StateMachine.from_yaml, "# nothing", "the machine is empty"),
        (StateMachine.from_yaml, "name: m\nstates: b: c", "the machine is not YAML at line 2, column 10"),
        (StateMachine.from_yaml, "name: m\nname: n", "the machine says 'name' twice, in line 1 and in line 2"),
        (StateMachine.from_yaml, "a: !!python/object/apply:os.getcwd []", "the machine is not YAML"),
        (StateMachine.from_json, '{\n"name": }', "the machine is not JSON at line 2, column 9: Expecting value"),
        (StateMachine.from_json, '{"name": "m", "name": "n"}', "the machine says 'name' twice in one object"),
        (StateMachine.from_json, f'{{"n": {"1" * 5000}}}', "the machine is not JSON that can be read"),
        (StateMachine.from_json, b"\x89PNG\r\n\x1a\n", "the machine is not text"),
        (StateMachine.from_json, "[" * 100_000, "the machine is nested too deeply; flatten it"),
        (StateMachine.from_yaml, "- " * 100_000, "the machine is nested more than 200 deep"),
        (StateMachine.from_yaml, "&a [*a]", "the machine is nested more than 200 deep"),
        (StateMachine.from_json, " " * MAX_MACHINE_BYTES + "{}", "more than is read; split the machine"),
        (
            StateMachine.from_json,
            '{"name": [' + ",".join("1" for _ in range(300_000)) + "]}",
            "the machine holds more than 200000 values; split it",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_text_that_is_no_machine_is_refused(read: Any, text: str | bytes, message: str):
    with pytest.raises(MachineError) as caught:
        read(text)

    assert message in str(caught.value)


def test_what_is_wrong_with_a_file_names_the_file(tmp_path: Path):
    path = tmp_path / "m.yaml"
    path.write_text("name: m\ninitial: a\nstates: [{name: a}]")

    with pytest.raises(MachineError) as caught:
        StateMachine.from_file(path)
    with pytest.raises(MachineError, match="cannot read the machine file"):
        StateMachine.from_file(tmp_path / "none.yaml")

    assert str(caught.value).startswith(f"machine {str(path)!r}: there is no way out of the state 'a'")


def test_a_file_that_has_no_end_is_not_read_to_it():
    with pytest.raises(MachineError, match="more than is read"):
        StateMachine.from_file("/dev/zero")


def test_a_diagram_shows_states_actions_bounds_and_guards_and_where_the_machine_is():
    assert FULL.to_mermaid(current="review") == (
        "stateDiagram-v2\n"
        "    [*] --> s0\n"
        '    state "draft<br/><i>writer</i><br/>at most 5 times" as s0\n'
        '    state "review" as s1\n'
        '    state "out" as s2\n'
        '    state "lost" as s3\n'
        "    s0 --> s1 : succeeded [/score #8805; 7.5, /tags in #91;#34;a#34;,null#93;]\n"
        "    s0 --> s0 : succeeded\n"
        "    s0 --> s3 : failed\n"
        "    s0 --> s3 : timeout after 300 s\n"
        "    s0 --> s3 : exhausted\n"
        "    s1 --> s2 : approve\n"
        "    s1 --> s0 : reject [it exists]\n"
        "    s2 --> [*] : succeeded\n"
        "    s3 --> [*] : failed\n"
        "    classDef current fill:#ffe8a3,stroke:#b58105,stroke-width:3px,color:#000\n"
        "    class s1 current\n"
    )
    assert "current" not in FULL.to_mermaid()
    with pytest.raises(Misuse, match="the machine 'full' has no state 'elsewhere'"):
        FULL.to_mermaid(current="elsewhere")


def test_nothing_in_a_diagram_is_read_as_mermaid():
    guards = [Guard("/a:b", "eq", 'x"; y\n%% <b> --> z #1; `'), Guard("/é", "lt", "long " * 20)]
    states = [State("a", transitions=[Go("b", "go", when=guards)]), State("b", final="failed")]

    lines = StateMachine("m", states, initial="a").to_mermaid().splitlines()

    (arrow,) = [line for line in lines if line.startswith("    s0 -->")]
    label = arrow.removeprefix("    s0 --> s1 : ")
    assert not set(label) & set('"\\\n%<>:`{}|=&é')
    assert len(label) < 400
    assert len(lines) == 6


def test_the_schema_is_json_schema():
    Draft202012Validator.check_schema(StateMachine.json_schema())

    assert StateMachine.json_schema()["additionalProperties"] is False
    assert not list(Draft202012Validator(StateMachine.json_schema()).iter_errors(FULL.to_dict()))
    assert list(Draft202012Validator(StateMachine.json_schema()).iter_errors(document(timout_s=5)))


def test_a_trigger_that_yaml_reads_as_a_truth_value_is_to_be_quoted():
    text = (
        "{name: m, initial: a, states: [{name: a, transitions: [{to: b, trigger: yes}]}, {name: b, final: succeeded}]}"
    )

    with pytest.raises(MachineError, match="a truth value, where a text should be: YAML reads yes, on and true so"):
        StateMachine.from_yaml(text)

    assert StateMachine.from_yaml(text.replace("yes", '"yes"')).state("a").events == ("yes",)
