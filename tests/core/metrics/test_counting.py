"""A process that has set a meter provider counts without being asked; one that has not does nothing of the kind."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

PROGRAM = """
    import asyncio, json, sys
    from coterie import Orchestrator, Plan, Task, Team

    team = Team("desk")

    @team.agent("writer", capacity=3)
    async def write(task_input, ctx):
        ctx.report_usage(input_tokens=7)

    plan = Plan("letters", [Task(name, "writer") for name in ("a", "b")])
    desk = Orchestrator(team)
    result = asyncio.run(desk.execute_workflow(plan))
"""
SDK = """
    from opentelemetry.metrics import set_meter_provider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    set_meter_provider(MeterProvider([reader]))
"""
SHOW = """
    points = {}
    for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            key = " ".join([metric.name, *map(str, point.attributes.values())])
            points[key] = getattr(point, "value", None) or getattr(point, "count", 0)
    print(json.dumps(points))
"""


def run(*parts: str) -> str:
    text = "".join(map(textwrap.dedent, parts))
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout


def test_a_process_with_a_meter_provider_counts_runs_tasks_calls_and_tokens() -> None:
    points = json.loads(run(SDK, PROGRAM, SHOW))
    assert points["coterie.run.completed succeeded"] == 1
    assert points["coterie.run.duration succeeded"] == 1
    assert points["coterie.task.completed writer succeeded"] == 2
    assert points["coterie.agent.calls writer succeeded"] == 2
    assert points["coterie.tokens writer input"] == 14
    assert points["coterie.agent.slots writer writer"] == 3


def test_who_concludes_a_run_that_others_performed_counts_it() -> None:
    concludes = """
    from coterie.telemetry.recording import record_run

    asyncio.run(record_run(result, namespace="default"))
    """
    points = json.loads(run(PROGRAM, SDK, concludes, SHOW))
    assert points["coterie.run.completed succeeded"] == 1
    assert "coterie.task.completed writer succeeded" not in points


def test_who_gathers_a_foreach_that_others_performed_counts_it_as_one_task() -> None:
    gathers = """
    import tempfile
    from pathlib import Path
    from coterie import ArtifactStore, ForEach

    task = Task("each", "writer", foreach=ForEach(items=[1, 2, 3]))
    desk = Orchestrator(team, artifacts=ArtifactStore(Path(tempfile.mkdtemp()).as_uri()))

    async def perform():
        parts = await desk.split(task, max_parts=2)
        return parts, [await desk.execute_part(task, part) for part in parts]

    parts, done = asyncio.run(perform())
    """
    asyncs = "asyncio.run(desk.gather(task, type(parts).deserialize(parts.serialize()), done))\n"
    points = json.loads(run(PROGRAM, gathers, SDK, asyncs, SHOW))
    assert points["coterie.task.completed writer succeeded"] == 1
    assert points["coterie.task.duration writer succeeded"] == 1
    performers = json.loads(run(SDK, PROGRAM.replace("result = ", "pass #"), gathers, SHOW))
    assert performers["coterie.task.completed writer succeeded"] == 0
    assert performers["coterie.agent.calls writer succeeded"] == 3


def test_a_process_without_a_provider_imports_nothing_to_count_with() -> None:
    shown = run(PROGRAM, "print([name for name in sys.modules if name.startswith('opentelemetry')])")
    assert shown.strip() == "[]"
