"""Three ways in which agents work together without knowing each other, on a real Airflow and a real Prefect server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deploy.demo.airflow_server import AirflowServer
from deploy.demo.prefect_server import PrefectServer

from coterie import ArtifactStore, Ref, WorkflowResult, sync
from coterie.bus import CloudEvent, EventBus, short_type
from coterie.teams import newsdesk, supervisor
from tests.support.redis_servers import wait_until
from tests.support.running import process

REPOSITORY = Path(__file__).resolve().parents[2]
RUNNER = REPOSITORY / "tests" / "demo" / "flows" / "pattern.py"
NAMES = ("event_driven", "fan_out_remote", "supervisor")
ASKED_AND_DONE = ["task.created", "task.assigned", "task.completed"]
NO_SUBJECT = "there is no subject to look into; say which"
SIZES = [12, pytest.param(200, marks=pytest.mark.full)]

pytestmark = [pytest.mark.airflow, pytest.mark.prefect]


@dataclass(frozen=True)
class Place:
    """Where state and artifacts lie that all share."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {
            "COTERIE_STORE": f"sqlite://{self.folder}/state.db",
            "COTERIE_ARTIFACTS": f"file://{self.folder}/artifacts",
            "COTERIE_DESK_PACE_S": "1.0",
            "PYTHONPATH": str(REPOSITORY),
        }

    def program(self, *arguments: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """`python -m …` with the core alone, as whoever serves agents runs it."""
        return process([sys.executable, "-m", *arguments], self.env, self.folder / "programs.log")

    def said(self, *types: str, topic: str = "events") -> list[CloudEvent]:
        """What was published, in its order."""

        async def replay() -> list[CloudEvent]:
            async with EventBus.open(self.env["COTERIE_STORE"], topic=topic) as bus:
                return [recorded.event async for recorded in bus.replay(*types)]

        return asyncio.run(replay())


@dataclass(frozen=True)
class Flows:
    """Runs of the example flows, each in a process of its own."""

    python: Path
    env: Mapping[str, str]

    def begin(self, name: str, /, **parameters: object) -> subprocess.Popen[str]:
        command = [str(self.python), str(RUNNER), name, json.dumps(parameters)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=dict(self.env), stdout=pipe, stderr=pipe, text=True)

    def run(self, name: str, /, **parameters: object) -> dict[str, Any]:
        return ending(self.begin(name, **parameters))


def ending(running: subprocess.Popen[str]) -> dict[str, Any]:
    said, errors = running.communicate(timeout=900)
    assert running.returncode == 0, errors[-3000:]
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def python(variable: str) -> Path:
    path = os.environ.get(variable)
    assert path, f"{variable} names no interpreter; run these tests with `make test-demo`"
    return Path(path).absolute()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("patterns"))


@pytest.fixture(scope="module")
def airflow(place: Place) -> Iterator[AirflowServer]:
    dags = place.folder / "dags"
    dags.mkdir()
    for name in NAMES:
        shutil.copy(REPOSITORY / "dags" / f"{name}.py", dags)
    interpreter = python("COTERIE_AIRFLOW_PYTHON")
    with AirflowServer(dags, python=interpreter, home=place.folder / "airflow", env=place.env) as server:
        yield server


@pytest.fixture(scope="module")
def flows(place: Place) -> Iterator[Flows]:
    interpreter = python("COTERIE_PREFECT_PYTHON")
    with PrefectServer(place.folder / "prefect", python=interpreter) as server:
        yield Flows(interpreter, {**server.environment(), **place.env})


@pytest.fixture(scope="module")
def agents(place: Place) -> Iterator[None]:
    """Whoever has the skills that the examples ask for on the bus."""
    with place.program("coterie.teams.newsdesk"), place.program("coterie.teams.supervisor"):
        yield


# Agents that know only events


@pytest.mark.usefixtures("agents")
def test_a_dag_asks_for_what_agents_do_and_goes_on_with_what_they_say(airflow: AirflowServer, place: Place):
    subject = "what a scheduler forgets " * 20  # more than an XCom takes: what is said then travels by reference

    run = airflow.trigger("event_driven", {"subject": subject})
    ended = airflow.wait("event_driven", run, timeout_s=600)

    facts = [f"{subject.strip()}: {fact}" for fact in ("who says so", "what follows", "what it costs")]
    assert ended["state"] == "success"
    assert airflow.xcom("event_driven", run, "research.output") == facts
    assert airflow.xcom("event_driven", run, "write.output") == "\n".join(f"{n}. {f}." for n, f in enumerate(facts, 1))
    told = conversation(place, f"airflow.event_driven.{run}")
    assert [short_type(event.type) for event in told] == ASKED_AND_DONE * 2
    assert [event.data["task_id"] for event in told] == ["research"] * 3 + ["write"] * 3


@pytest.mark.usefixtures("agents")
def test_a_dag_fails_with_the_words_of_the_agent_that_failed(airflow: AirflowServer, place: Place):
    run = airflow.trigger("event_driven", {"subject": ""})
    ended = airflow.wait("event_driven", run, timeout_s=600)

    states = {one["task_id"]: one["state"] for one in airflow.tasks("event_driven", run)}
    assert ended["state"] == "failed"
    assert states["research.output"] == "failed"
    assert states["write.create"] == "upstream_failed"
    assert NO_SUBJECT in airflow.task_log("event_driven", run, "research.output")
    told = [short_type(event.type) for event in conversation(place, f"airflow.event_driven.{run}")]
    assert told == ["task.created", "task.assigned", "task.failed"]


@pytest.mark.usefixtures("agents")
def test_a_flow_asks_for_what_agents_do_and_goes_on_with_what_they_say(flows: Flows, place: Place):
    before = ids(place)

    ended = flows.run("event_driven", subject="tea")

    assert (ended["state"], ended["value"][:19]) == ("Completed", "1. tea: who says so")
    told = [event for event in place.said("*", topic=newsdesk.TOPIC) if event.id not in before]
    assert [short_type(event.type) for event in told] == ASKED_AND_DONE * 2
    (correlation,) = {event.correlation_id for event in told}
    assert correlation is not None
    assert correlation.startswith("prefect.")


@pytest.mark.usefixtures("agents")
def test_a_flow_fails_with_the_words_of_the_agent_that_failed(flows: Flows, place: Place):
    before = ids(place)

    ended = flows.run("event_driven", subject="")

    assert ended["state"] == "Failed"
    assert NO_SUBJECT in ended["message"]
    told = [short_type(event.type) for event in place.said("*", topic=newsdesk.TOPIC) if event.id not in before]
    assert told == ["task.created", "task.assigned", "task.failed"]


def conversation(place: Place, correlation_id: str) -> list[CloudEvent]:
    return [event for event in place.said("*", topic=newsdesk.TOPIC) if event.correlation_id == correlation_id]


def ids(place: Place) -> set[str]:
    return {event.id for event in place.said("*", topic=newsdesk.TOPIC)}


# Tasks that others perform


@pytest.mark.parametrize("tasks", SIZES)
def test_a_dag_holds_no_slot_of_its_pool_while_its_tasks_run_elsewhere(
    airflow: AirflowServer, place: Place, tasks: int
):
    run = airflow.trigger("fan_out_remote", {"tasks": tasks, "seconds": 20})
    workflow_id = f"airflow.fan_out_remote.{run}"

    def waiting() -> bool:
        states = Counter(one["state"] for one in airflow.tasks("fan_out_remote", run) if one["task_id"] == "errand")
        return states["deferred"] == tasks

    def seen() -> tuple[int, int, dict[str, Any]] | None:
        before = len(at_work(place, workflow_id))
        pool = airflow.call("GET", "/api/v2/pools/default_pool")
        after = len(at_work(place, workflow_id))
        return (before, after, pool) if min(before, after) >= 4 else None

    # All lie in the queue before anybody takes one: what they need of the scheduler is over by then.
    airflow.wait_for("the tasks to be handed over", waiting, timeout_s=1800)
    with worker(place, "first", tasks), worker(place, "second", tasks) as second:
        before, after, pool = airflow.wait_for("several at work", seen, timeout_s=300)
        second.kill()
        ended = airflow.wait("fan_out_remote", run, timeout_s=1800)

    assert before >= 4
    assert after >= 4
    assert (pool["occupied_slots"], pool["running_slots"], pool["queued_slots"]) == (0, 0, 0)
    assert pool["deferred_slots"] >= 4
    assert ended["state"] == "success"
    assert finished_once(place, workflow_id, tasks)


@pytest.mark.parametrize("tasks", SIZES)
def test_a_flow_sends_out_its_tasks_and_each_is_finished_once(flows: Flows, place: Place, tasks: int):
    known = {event.correlation_id for event in place.said("task.assigned")}

    running = flows.begin("fan_out_remote", tasks=tasks, seconds=5)
    with worker(place, "first", tasks), worker(place, "second", tasks) as second:
        wait_until(lambda: "second" in new_workers(place, known), "the second worker to be at work", within_s=600)
        second.kill()
        ended = ending(running)

    (workflow_id,) = {str(event.data["workflow_id"]) for event in place.said("task.completed")} - known
    assert (ended["state"], ended["value"]) == ("Completed", tasks)
    assert finished_once(place, workflow_id, tasks)


def worker(place: Place, name: str, tasks: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """One of two, neither of which can take all tasks at once."""
    capacity = ["--capacity", str(max(4, tasks // 8)), "--id", name]
    return place.program("coterie", "worker", "--team", "coterie.teams.errands:team", *capacity)


def new_workers(place: Place, known: set[str | None]) -> set[str]:
    return {event.data["worker"] for event in place.said("task.assigned") if event.correlation_id not in known}


def calls(place: Place, what: str, workflow_id: str) -> list[str]:
    return [str(event.data["call"]) for event in place.said(what) if event.data["workflow_id"] == workflow_id]


def at_work(place: Place, workflow_id: str) -> set[str]:
    return set(calls(place, "task.assigned", workflow_id)) - set(calls(place, "task.completed", workflow_id))


def finished_once(place: Place, workflow_id: str, tasks: int) -> bool:
    done = calls(place, "task.completed", workflow_id)
    return len(done) == len(set(done)) == tasks


# An agent that plans


@pytest.mark.usefixtures("agents")
def test_a_dag_s_supervisor_plans_anew_and_its_retry_asks_nobody_twice(airflow: AirflowServer, place: Place):
    run = airflow.trigger("supervisor", {"subject": "tea"})
    correlation_id = f"airflow.supervisor.{run}"

    airflow.wait_for("the plan to be changed", lambda: "archive" in asked(place, correlation_id), timeout_s=600)
    (task,) = airflow.tasks("supervisor", run)
    os.kill(task["pid"], signal.SIGKILL)
    ended = airflow.wait("supervisor", run, timeout_s=900)

    (task,) = airflow.tasks("supervisor", run)
    assert (ended["state"], task["try_number"]) == ("success", 2)
    check_report(loaded(place, Ref.deserialize(airflow.xcom("supervisor", run, "supervise")["__data__"])))
    check_asked(asked(place, correlation_id))


@pytest.mark.usefixtures("agents")
def test_a_flow_s_supervisor_plans_anew_and_its_successor_asks_nobody_twice(flows: Flows, place: Place):
    killed = flows.begin("supervisor", subject="tea", coterie_run_id="story-1")
    wait_until(lambda: "archive" in asked(place, "story-1"), "the plan to be changed", within_s=600)
    killed.kill()
    killed.communicate()

    ended = flows.run("supervisor", subject="tea", coterie_run_id="story-1")

    assert ended["state"] == "Completed", ended
    run = WorkflowResult.from_dict(loaded(place, Ref.deserialize(ended["value"]["stored"])))
    check_report(loaded(place, run["supervise"].output))
    check_asked(asked(place, "story-1"))


def asked(place: Place, correlation_id: str) -> Counter[str]:
    prefix = f"{supervisor.ASKED}."
    told = place.said(f"{prefix}*")
    return Counter(event.type.removeprefix(prefix) for event in told if event.correlation_id == correlation_id)


def check_report(report: supervisor.Report) -> None:
    assert report["steps"] == [
        "facts: done",
        "interview: nobody picked up",
        "archive: done",
        "letters: done",
        "summary: done",
    ]
    found = ["tea: since when", "tea: at what price", "tea, in the archive", "tea, in the letters"]
    assert report["text"].splitlines() == found


def check_asked(found: Counter[str]) -> None:
    # The archive was being asked when the asker was killed: only what was answered by then is not asked again.
    assert found.pop("archive") in (1, 2)
    assert found == {"facts": 1, "interview": 1, "letters": 1, "summary": 1}


def loaded(place: Place, ref: Ref) -> Any:
    return sync.ArtifactStore(ArtifactStore(place.env["COTERIE_ARTIFACTS"])).load(ref)
