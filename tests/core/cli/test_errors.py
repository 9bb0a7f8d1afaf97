"""Bad input: one line that names the culprit and the next step, an exit code, and no traceback."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from coterie.cli.app import app

LINT = {"id": "lint", "agent_type": "split"}


@pytest.fixture
def invoke(folder):
    def run(*argv: str):
        return CliRunner().invoke(app, list(argv), prog_name="coterie")

    return run


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (
            [{**LINT, "id": "a", "depends_on": ["b"]}, {**LINT, "id": "b", "depends_on": ["a"]}],
            "tasks wait for each other: a -> b -> a; remove one of these dependencies",
        ),
        ([LINT, LINT], "two tasks are called 'lint'"),
        ([{**LINT, "depends_on": ["ghost"]}], "'lint' refers to the task 'ghost', which is not in the plan"),
        ([{"id": "lint"}], "the plan is wrong at tasks/0/agent_type"),
        ([{**LINT, "colour": 1}], "colour"),
        ([{**LINT, "id": "a/b"}], "'a/b' is not a usable name"),
        ([{**LINT, "input": {"x": {"$param": "x"}}}], "refers to the parameter 'x'"),
        ([], "has no tasks"),
    ],
)
@pytest.mark.parametrize("command", [["validate"], ["graph"], ["run", "--team", "work:team"]])
def test_a_plan_that_cannot_run_is_refused_by_every_command(invoke, folder, tasks, said, command):
    (folder / "plan.json").write_text(json.dumps({"name": "bad", "tasks": tasks}))

    done = invoke(*command, "plan.json")

    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", ["validate", "run"])
def test_an_unknown_agent_type_lists_the_known_ones(invoke, folder, command):
    (folder / "plan.yaml").write_text("{name: p, tasks: [{id: lint, agent_type: linter}]}")

    done = invoke(command, "plan.yaml", "--team", "work:team")

    assert done.exit_code == 2
    assert "no agent serves the type 'linter' (asked for by the task 'lint')" in done.stderr
    assert "known types: 'double', 'fail', 'join', 'split'" in done.stderr


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["validate", "nowhere.yaml"], "cannot read the plan file 'nowhere.yaml'"),
        (["validate", "nowhere"], "there is no plan file 'nowhere'; check the path, or write package.module:plan"),
        (["validate", "."], "there is no plan file '.'"),
        (["validate", "work.py"], "'work.py' is a Python file; name the plan in it: work:plan"),
        (["run", "a/b.py", "-t", "work:team"], "'a/b.py' is a Python file; name the plan in it: a.b:plan"),
        (["validate", "work:good", "-t", "work.py"], "'work.py' is a Python file; name the team in it: work:team"),
        (["validate", "work:ghost"], "the module 'work' has no 'ghost'"),
        (["validate", "ghost:plan"], "cannot load 'ghost:plan': ModuleNotFoundError"),
        (["validate", "broken:plan"], "cannot load 'broken:plan': SyntaxError"),
        (["validate", "work:team"], "'work:team' is a Team, not a Plan"),
        (["validate", "work:made"], "the template 'work:made' needs the parameter 'count'"),
        (["validate", "noise.yaml"], "the plan is not YAML"),
        (["validate", "noise.json"], "the plan is not JSON"),
        (["validate", "work:good", "-t", "ghost:team"], "cannot import 'ghost' for the team 'ghost:team'"),
        (["validate", "work:good", "-t", "work:good"], "'work:good' is a Plan, not a Team"),
        (["validate", "work:good", "-t", "ghost.yaml"], "cannot read the team file 'ghost.yaml'"),
        (["validate", "work:good", "-t", "broken:team"], "cannot load 'broken:team': SyntaxError"),
        (["run", "work:good", "-t", "work:team", "-p", "path"], "the parameter 'path' is not NAME=VALUE"),
        (["run", "work:good", "-t", "work:team", "-p", "a=1", "-p", "a=2"], "'a=2' is given twice"),
        (["run", "work:good", "-t", "work:team", "-p", "depth=1"], "has no parameter 'depth'; it declares: path"),
        (["run", "work:made", "-t", "work:team", "-p", "count=many"], "parameter 'count' of the template"),
        (["run", "work:good", "-t", "work:team", "--run-id", "../x"], "workflow id '../x' is not usable"),
        (["run", "work:good", "-t", "work:team", "--artifacts", "s3://key:secret@bucket"], "carries credentials"),
        (["review", "nowhere"], "the source 'nowhere' does not exist"),
        (["review", "https://me:secret@host/repo.git"], "'https://host/repo.git' carries credentials"),
        (["review", ".", "--revision", "--upload-pack=x"], "'--upload-pack=x' cannot be a revision"),
        (["review", ".", "--output", "work.py/reports"], "'work.py/reports' cannot be made"),
    ],
)  # fmt: skip
def test_misuse_names_the_culprit(invoke, folder, argv, said):
    (folder / "broken.py").write_text("plan = (")
    (folder / "noise.yaml").write_text("a: [b")
    (folder / "noise.json").write_text("{")

    done = invoke(*argv)

    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.output
    assert "secret" not in done.output


@pytest.mark.parametrize("argv", [["frobnicate"], ["run", "work:good"], ["graph"], ["review", ".", "--format", "pdf"]])
def test_a_wrong_command_line_is_misuse(invoke, argv):
    done = invoke(*argv)

    assert done.exit_code == 2
    assert "coterie" in done.stderr


def test_a_wrong_format_is_told_with_those_that_there_are(invoke):
    done = invoke("review", ".", "--format", "pdf")

    said = " ".join(done.stderr.replace("│", " ").split())
    assert "Invalid value for '--format' / '-f': 'pdf' is not one of json, md, html, sarif" in said


def test_an_unexpected_error_is_one_line_and_a_traceback_on_demand(invoke, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("coterie.cli.looking.read_plan", broken)

    plain, debug = invoke("graph", "work:good"), invoke("--debug", "graph", "work:good")

    assert plain.exit_code == debug.exit_code == 1
    assert plain.stderr == (
        "error: unexpected ZeroDivisionError: by zero; run `coterie --debug ...` for the traceback, and report it\n"
    )
    assert "Traceback (most recent call last)" in debug.stderr


def test_a_store_that_cannot_be_written_is_told(invoke, folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("COTERIE_HOME", str(folder / "file"))

    done = invoke("run", "work:good", "-t", "work:team")

    assert done.exit_code == 2
    assert "set COTERIE_HOME to a folder that can be written" in done.stderr
