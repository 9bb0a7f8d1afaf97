"""`coterie validate` and `coterie graph`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from coterie import Plan, Task
from coterie.cli.app import app


@pytest.fixture
def invoke(folder):
    def run(*argv: str):
        done = CliRunner().invoke(app, list(argv))
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_a_valid_plan_is_described(invoke):
    told = invoke("validate", "work:good", "--team", "work:team")

    assert "valid: three: 3 tasks, 2 dependencies, 3 deep" in told
    assert "agents  double, join, split" in told
    assert "params  path" in told


def test_a_valid_plan_is_described_as_json(invoke, folder):
    plan = Plan("pair", [Task("a", "x"), Task("b", "y", depends_on=["a"])], params={"p": 1})
    (folder / "plan.yaml").write_text(plan.to_yaml())

    assert json.loads(invoke("validate", "plan.yaml", "--json")) == {
        "valid": True,
        "name": "pair",
        "hash": plan.hash,
        "tasks": 2,
        "dependencies": 1,
        "depth": 2,
        "agent_types": ["x", "y"],
        "params": {"p": 1},
        "outputs": ["b"],
    }


def test_a_plan_file_is_the_same_plan_in_either_format(invoke, folder):
    plan = Plan("one", [Task("a", "x")])
    (folder / "plan.yaml").write_text(plan.to_yaml())
    (folder / "plan.json").write_text(plan.to_json())

    assert invoke("validate", "plan.yaml") == invoke("validate", "plan.json")


def test_a_graph_is_drawn(invoke):
    drawn = invoke("graph", "work:good")

    assert drawn.splitlines()[:4] == [
        "three: 3 tasks, 2 dependencies, 3 deep",
        "●  split   split",
        "◆  double  double  for each of split/items",
        "╰  join    join",
    ]


def test_a_graph_is_written_as_mermaid(invoke):
    assert invoke("graph", "work:good", "--mermaid").startswith("flowchart TD\n")


def test_a_large_graph_stays_within_its_limit(invoke, folder):
    tasks = [Task(f"t{n}", "x", depends_on=[f"t{n - 1}"] if n else []) for n in range(500)]
    (folder / "plan.json").write_text(Plan("chain", tasks).to_json())

    drawn = invoke("graph", "plan.json", "--limit", "10").splitlines()

    assert len(drawn) == 13
    assert "490 more" in drawn[11]
