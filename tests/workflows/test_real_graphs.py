"""Graphs of workflows that scientists really ran, as the WfCommons package brings them: up to 3,275 tasks each.

The graphs are only nodes and edges here; every task becomes one of a plan, and the plan goes through YAML or JSON as a
user's file would.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import wfcommons

from coterie import Orchestrator, Plan, Task, TaskContext

RECIPES = Path(wfcommons.__file__).parent / "wfchef" / "recipes"
APPLICATIONS = (
    "blast",
    "bwa",
    "cycles",
    "epigenomics",
    "genome",
    "montage",
    "rnaseq",
    "seismology",
    "soykb",
    "srasearch",
)


@cache
def graphs_of(application: str) -> dict[str, Any]:
    """The recorded runs of one application by name, as networkx graphs."""
    found = sorted((RECIPES / application / "microstructures").rglob("base_graph.pickle"))
    return {path.parent.name: pickle.loads(path.read_bytes()) for path in found}


def plan_of(name: str, graph: Any) -> Plan:
    """`SRC` and `DST` stand for the outside; they are tasks like the others."""
    ids = {node: f"t{number}" for number, node in enumerate(graph.nodes)}
    tasks = [
        Task(
            ids[node],
            "worker",
            input={"label": str(node)},
            depends_on=[ids[before] for before in graph.predecessors(node)],
        )
        for node in graph.nodes
    ]
    return Plan(name, tasks)


def largest() -> Iterator[Any]:
    for application in APPLICATIONS:
        name, graph = max(graphs_of(application).items(), key=lambda pair: pair[1].number_of_nodes())
        yield pytest.param(name, graph, id=f"{application}-{graph.number_of_nodes()}")


async def order_of(plan: Plan) -> list[str]:
    """Run the plan; task ids in the order in which their agents ended."""
    ended: list[str] = []

    async def work(task_input: dict[str, Any], ctx: TaskContext) -> None:
        ended.append(ctx.task_id)

    orchestrator = Orchestrator()
    orchestrator.register_agent("worker", "worker", 8, handler=work)
    result = await orchestrator.execute_workflow(plan)
    assert result.status == "succeeded"
    return ended


@pytest.mark.parametrize("suffix", ["yaml", "json"])
@pytest.mark.parametrize(("name", "graph"), largest())
async def test_the_largest_run_of_each_application_runs_in_dependency_order(
    tmp_path: Path, name: str, graph: Any, suffix: str
):
    made = plan_of(name, graph)
    path = tmp_path / f"plan.{suffix}"
    path.write_text(made.to_yaml() if suffix == "yaml" else made.to_json())

    plan = Plan.from_file(path)
    place = {task_id: number for number, task_id in enumerate(await order_of(plan))}

    assert plan.hash == made.hash
    assert len(place) == graph.number_of_nodes() == len(plan.tasks)
    assert sum(len(task.depends_on) for task in plan.tasks) == graph.number_of_edges()
    assert all(place[before] < place[task.id] for task in plan.tasks for before in task.depends_on)


def test_every_recorded_run_is_a_plan():
    plans = [plan_of(name, graph) for app in APPLICATIONS for name, graph in graphs_of(app).items()]

    assert len(plans) > 150
    assert sum(len(plan.tasks) >= 1000 for plan in plans) > 20


def test_a_recorded_run_with_its_end_tied_to_its_beginning_is_refused():
    name, graph = max(graphs_of("montage").items(), key=lambda pair: pair[1].number_of_nodes())
    tied = graph.copy()
    tied.add_edge("DST", "SRC")

    with pytest.raises(ValueError, match=r"tasks wait for each other: t\d+ -> "):
        plan_of(name, tied)
