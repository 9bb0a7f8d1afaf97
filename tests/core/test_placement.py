"""Where a task is performed: what plans and teams may say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie import Compensation, Orchestrator, Plan, Task, Team
from coterie.approval import Approval
from coterie.errors import Misuse, PlanError, PolicyError, UnknownAgentType
from coterie.remote.agent import DEFAULT_CAPACITY, RemoteAgent
from coterie.task import Retry


def test_a_placement_travels_with_the_plan_and_is_part_of_its_hash():
    plain, placed = (Plan("p", [Task("a", "x", placement=where)]) for where in (None, "remote"))

    assert Plan.from_dict(placed.to_dict()) == placed
    assert placed.to_dict()["tasks"] == [{"id": "a", "agent_type": "x", "placement": "remote"}]
    assert "placement" not in plain.to_dict()["tasks"][0]
    assert plain.hash != placed.hash


def test_a_placement_that_is_none_is_refused():
    with pytest.raises(PolicyError, match="'remote' or 'local'"):
        Task("a", "x", placement="elsewhere")
    with pytest.raises(PlanError, match="placement"):
        Plan.from_dict({"name": "p", "tasks": [{"id": "a", "agent_type": "x", "placement": 3}]})


def test_a_person_s_task_has_no_placement():
    with pytest.raises(PolicyError, match="placement"):
        Task("a", "boss", approval=Approval("May it?"), placement="remote")


def test_a_team_says_that_a_type_is_elsewhere():
    team = Team("t")
    agent = team.remote("gpu", capacity=8, version="2", timeout_s=5, retry=Retry(), patience_s=60, description="d")

    assert agent.handler == RemoteAgent(60)
    assert (agent.id, agent.type, agent.capacity, agent.version, agent.plannable) == ("gpu", "gpu", 8, "2", False)
    assert team.agent_types == ("gpu",)
    team.check(Plan("p", [Task("a", "gpu")]))


def test_a_type_is_of_one_version_here_and_elsewhere():
    team = Team("t")
    team.agent("linter", version="7")(_nothing)

    assert team.remote("linter").version == "7"
    assert team.remote("other").version == "0"
    assert team.remote("linter", agent_id="old", version="6").version == "6"


async def _nothing(_: dict[str, object]) -> None:
    return None


def test_agents_here_and_elsewhere_may_be_of_one_type():
    team = Team("t")
    team.agent("gpu")(_nothing)
    team.remote("gpu")

    assert sorted(team.agents) == ["gpu", "gpu-remote"]
    team.check(Plan("p", [Task("a", "gpu"), Task("b", "gpu", placement="local")]))


def test_whom_nobody_here_serves_may_be_served_elsewhere_and_nowhere_else():
    team = Team("t")
    team.remote("known")

    team.check(Plan("p", [Task("a", "unheard-of", placement="remote")]))
    for task in (Task("a", "unheard-of"), Task("a", "known", placement="local")):
        with pytest.raises(UnknownAgentType):
            team.check(Plan("p", [task]))
    undone = Task("a", "unheard-of", placement="remote", compensation=Compensation("nobody"))
    with pytest.raises(UnknownAgentType, match="nobody"):
        team.check(Plan("p", [undone]))


def test_a_team_s_file_says_it_too(tmp_path: Path):
    path = tmp_path / "team.yaml"
    agents = "- {agent_type: a, remote: true}\n- {agent_type: b, remote: {patience_s: 9}, capacity: 3}\n"
    path.write_text(f"agents:\n{agents}")

    team = Team.load(str(path))

    assert [(agent.handler, agent.capacity) for agent in team.agents.values()] == [
        (RemoteAgent(), DEFAULT_CAPACITY),
        (RemoteAgent(9), 3),
    ]


@pytest.mark.parametrize("value", ["here", "{patience: 3}", "[]", "false"])
def test_a_team_s_file_that_says_it_wrongly_is_refused(tmp_path: Path, value: str):
    path = tmp_path / "team.yaml"
    path.write_text(f"agents:\n- {{agent_type: a, remote: {value}}}\n")

    with pytest.raises(Misuse, match="remote is"):
        Team.load(str(path))


@pytest.mark.parametrize("patience_s", [0, -1, True, 1e9, float("nan")])
def test_a_patience_that_is_none_is_refused(patience_s: float):
    with pytest.raises(Misuse, match="patience_s"):
        RemoteAgent(patience_s)


async def test_slots_elsewhere_are_shown_beside_those_here():
    team = Team("t")
    team.agent("gpu", capacity=2)(_nothing)
    team.remote("gpu", capacity=5)

    agents = Orchestrator(team).get_status().agents

    assert [(agent.agent_id, agent.capacity) for agent in agents] == [("gpu", 2), ("gpu-remote", 5)]


async def _nothing(_: dict) -> None:
    """Do nothing."""
