"""Teams: decorated functions, commands, YAML files; refusals name the file, the agent and the field."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from coterie import Agent, Command, Orchestrator, Plan, Retry, Task, Team
from coterie.errors import Misuse, PolicyError, UnknownAgentType

YAML = """
name: from-yaml
agents:
  - agent_type: parser
    handler: json:dumps
    capacity: 3
    version: 2
    timeout_s: 60
    retry: {max_attempts: 2}
  - agent_type: lister
    id: ls
    command: {argv: [ls, -l], output: text, ok_exit_codes: [0, 2]}
  - agent_type: lister
    id: ls-plannable
    command: [ls]
    plannable: true
"""


async def work(task_input: Any) -> str:
    """Do the work.

    At length.
    """
    return "done"


def test_a_decorated_function_is_an_agent_and_stays_a_function():
    team = Team("t")

    same = team.agent("x", capacity=2, version="3", plannable=False, timeout_s=5, retry=Retry())(work)

    assert same is work
    agent = team.agents["x"]
    assert (agent.type, agent.capacity, agent.version, agent.plannable, agent.description) == (
        "x",
        2,
        "3",
        False,
        "Do the work.",
    )
    assert team.of_type("x") == (agent,)


def test_a_type_is_plannable_if_all_its_agents_are():
    team = Team("t", [Agent("a", "x", work), Agent("b", "x", work, plannable=False), Agent("c", "y", work)])

    assert team.agent_types == ("x", "y")
    assert team.plannable_types == ("y",)


def test_an_agent_id_is_taken_once():
    team = Team("t", [Agent("a", "x", work)])

    with pytest.raises(Misuse, match="the team 't' already has an agent 'a'; choose another agent_id"):
        team.agent("y", agent_id="a")(work)


def test_a_plan_that_the_team_cannot_run_is_refused():
    team = Team("t", [Agent("a", "x", work), Agent("b", "y", work)])

    team.check(Plan("p", [Task("t", "x")]))
    with pytest.raises(
        UnknownAgentType, match=r"type 'z' .asked for by the task 'u'.; known types: 'x', 'y'"
    ) as caught:
        team.check(Plan("p", [Task("t", "x"), Task("u", "z")]))
    assert (caught.value.task_id, caught.value.agent_type, caught.value.known) == ("u", "z", ("x", "y"))


def test_a_team_is_read_from_yaml(tmp_path: Path):
    path = tmp_path / "team.yaml"
    path.write_text(YAML)

    team = Team.load(str(path))

    assert (team.name, team.path) == ("from-yaml", str(path))
    parser, ls, plannable = team.agents.values()
    assert (parser.capacity, parser.version, parser.timeout_s, parser.retry) == (3, "2", 60, Retry(max_attempts=2))
    assert ls.handler == Command(["ls", "-l"], output="text", ok_exit_codes=(0, 2))
    assert [agent.plannable for agent in (parser, ls, plannable)] == [True, False, True]


def test_a_team_is_imported_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "some_team.py").write_text(
        "from coterie import Team\nteam = Team('imported')\nclass Holder:\n    inner = team\nnumber = 5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    assert Team.load("some_team:team").name == "imported"
    assert Team.load("some_team:Holder.inner") is Team.load("some_team:team")
    with pytest.raises(Misuse, match="'some_team:number' is a int, not a Team"):
        Team.load("some_team:number")
    sys.modules.pop("some_team")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("some.module", "is not 'package.module:name'"),
        (":team", "is not 'package.module:name'"),
        ("no_such_module_here:team", "cannot import 'no_such_module_here'"),
        ("json:no_such_name", "'json' has no 'no_such_name'; correct the team path"),
        ("gone.yaml", "cannot read the team file 'gone.yaml': .* check the path"),
        ("..relative:team", "cannot load '..relative:team': TypeError"),
    ],
)
def test_a_path_to_no_team_says_why(path: str, message: str):
    with pytest.raises(Misuse, match=message):
        Team.load(path)


def test_a_module_that_breaks_when_it_is_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_team.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(
        Misuse, match="cannot load 'broken_team:team': ZeroDivisionError: division by zero; mend"
    ) as caught:
        Team.load("broken_team:team")

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not YAML"),
        ("just text", "needs a name and a list of agents"),
        ("agents: {}", "needs a name and a list of agents"),
        ("name: has space\nagents: []", "team name 'has space'"),
        ("agents: [text]", "the agent 'text' needs an agent_type"),
        ("agents: [{agent_type: x}]", "give either a handler or a command"),
        ("agents: [{agent_type: x, command: [ls], handler: 'json:dumps'}]", "give either a handler or a command"),
        (
            "agents: [{agent_type: x, command: [ls], capcity: 2}]",
            "unknown field 'capcity'; fields: agent_type, capacity",
        ),
        (
            "agents: [{agent_type: x, command: ls -l}]",
            "team.yml': the agent 'x': command is 'ls -l'; give a list of strings",
        ),
        ("agents: [{agent_type: x, command: }]", "team.yml': the agent 'x': command is None; give a list"),
        ("agents: [{agent_type: x, command: []}]", r"team.yml': the agent 'x': command is wrong: argv is \(\)"),
        ("agents: [{agent_type: x, command: {argv: ls -l}}]", "the agent 'x': command is wrong: argv is 'ls -l'"),
        ("agents: [{agent_type: x, command: {args: [ls]}}]", "see coterie.Command for its fields"),
        ("agents: [{agent_type: x, command: {argv: [ls], ok_exit_codes: 1}}]", "see coterie.Command for its fields"),
        ("agents: [{agent_type: x, command: {argv: [ls], env: {PORT: 80}}}]", "env sets PORT to what is no text"),
        ("agents: [{agent_type: x, command: [ls], capacity: two}]", "capacity 'two'"),
        ("agents: [{agent_type: x, command: [ls], timeout_s: long}]", "timeout_s 'long'"),
        ("agents: [{agent_type: x, command: [ls], retry: {attempts: 2}}]", "agent 'x': retry is wrong: .*'attempts'"),
        ("agents: [{agent_type: x, command: [ls], retry: 3}]", "agent 'x': retry is 3"),
        ("agents: [{agent_type: x, handler: 'json:nothing'}]", "'json' has no 'nothing'"),
        ("agents: [{agent_type: x, handler: 5}]", "handler path 5"),
        (
            "agents: [{agent_type: x, handler: 'no_such_package.mail:work'}]",
            r"current folder \(sys.path\), not beside '.*team.yml': run it from the folder of 'no_such_package'",
        ),
        ("[" * 10_000, "is nested more than 200 deep"),
        ("name: t\nagents: []\nagents: []", "team.yml' says 'agents' twice, in line 2 and in line 3; keep one of them"),
        ("agents:\n- {agent_type: x, command: [ls], command: [cat]}", "says 'command' twice"),
        ("name: t\nagents: a: b", "team.yml' is not YAML at line 2, column 10: mapping values"),
    ],
)
def test_a_wrong_team_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str):
    (tmp_path / "team.yml").write_text(text)

    with pytest.raises((Misuse, PolicyError), match=message):
        Team.load(str(tmp_path / "team.yml"))


def test_a_team_from_yaml_works(tmp_path: Path):
    (tmp_path / "team.yaml").write_text(YAML)

    result = asyncio.run(
        Orchestrator(Team.load(str(tmp_path / "team.yaml"))).execute_task(Task("t", "parser", input={"a": 1}))
    )

    assert result.output == '{"a": 1}'
