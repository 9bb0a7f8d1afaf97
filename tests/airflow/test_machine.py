"""State machines under `dag.test()`: deferred while they wait, woken by events from elsewhere, ended, told once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from airflow_provider_coterie import CoterieStateMachineOperator, machine_turn
from airflow_provider_coterie.asking import Answer
from airflow_provider_coterie.machine_turn import Ended, Parked, Seen, Turn, status_document
from coterie import Policies, Runtime, StateMachine, StateMachineRun, Team
from coterie.breaker import BreakerPolicy, CircuitBreaker
from coterie.errors import BreakerOpen, Unavailable
from coterie.journal import Intent, Journal
from coterie.machine_run import MachineStatus, execute_machine
from coterie.result import ErrorInfo
from coterie.state import Action, Go, State
from coterie.stores.journal_memory import MemoryJournalStore
from tests.airflow.conftest import connection
from tests.airflow.reviewing import TEAM_PATH, Person, at_run, machine

REPOSITORY = Path(__file__).resolve().parents[2]
ONE = """
    from airflow.sdk import DAG
    from airflow_provider_coterie import CoterieStateMachineOperator
    from tests.airflow import reviewing

    with DAG("one", schedule=None) as dag:
        CoterieStateMachineOperator(
            task_id="machine", machine=reviewing.{machine}, team_path=reviewing.TEAM_PATH, asks={asks}{more}
        )
"""


@pytest.fixture
def state_url(artifacts, tmp_path, monkeypatch):
    """A database of this test's own, named by the default connection."""
    url = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url))
    return url


def one(machine="machine", *, asks=False, more=""):
    return ONE.format(machine=machine, asks=asks, more=more)


def history(url, run_id):
    async def read(run):
        return [(visit.state, visit.trigger, visit.to, visit.who) for visit in await run.history()]

    return asyncio.run(at_run(url, run_id, read))


def test_a_machine_waits_deferred_and_goes_on_when_an_event_comes_from_elsewhere(in_airflow, state_url):
    person = Person(state_url, "r1.machine", (2, "revise", {"comment": "shorter"}), (4, "approve", None))
    person.start()

    run = in_airflow.test(one(), coterie_run_id="r1")
    person.join()

    assert run.states() == {("machine", -1): "success"}
    assert run.tries() == {"machine": 1}
    assert history(state_url, "r1.machine") == [
        ("draft", "succeeded", "review", ""),
        ("review", "revise", "draft", "ann"),
        ("draft", "succeeded", "review", ""),
        ("review", "approve", "done", "ann"),
    ]
    ended = run.load("machine")
    assert ended["outputs"] == {"draft": {"text": "version 2", "heeded": "shorter"}}
    assert (ended["status"], ended["state"], ended["visit"]) == ("succeeded", "done", 5)
    status = run.xcom("machine", "coterie_status")
    assert status["workflow_id"] == "r1.machine"
    assert len(json.dumps(status)) <= 1024


def test_a_time_out_of_the_machine_is_taken_by_the_task_that_waits(in_airflow, state_url):
    run = in_airflow.test(one("timed"), coterie_run_id="r2")

    assert run.states() == {("machine", -1): "success"}
    assert history(state_url, "r2.machine") == [("wait", "timeout", "late", "")]


def test_a_machine_that_fails_fails_its_task_without_a_retry(in_airflow, state_url):
    person = Person(state_url, "r3.machine", (2, "reject", None))
    person.start()

    run = in_airflow.test(one(more=", retries=3"), coterie_run_id="r3")

    assert run.states() == {("machine", -1): "failed"}
    assert run.tries() == {"machine": 1}
    assert run.xcom("machine", "coterie_status")["status"] == "failed"


def test_without_a_journal_it_is_refused_with_what_to_set(artifacts, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, journal="off"))
    operator = CoterieStateMachineOperator(task_id="machine", machine=machine, team_path=TEAM_PATH)
    ti = SimpleNamespace(id="of-the-try", map_index=-1)
    dag_run = SimpleNamespace(conf={}, dag_id="one", run_id="r4", clear_number=0)

    with pytest.raises(AirflowFailException, match=r"needs a journal to keep its state in.*set 'journal' to 'strict'"):
        operator.execute({"ti": ti, "dag_run": dag_run})


def test_an_answer_is_held_while_the_journal_is_away(artifacts, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store="redis://127.0.0.1:1/0"))
    operator = CoterieStateMachineOperator(task_id="machine", machine=machine, team_path=TEAM_PATH)
    dag_run = SimpleNamespace(conf={}, dag_id="one", run_id="r6", clear_number=0)
    context = {"ti": SimpleNamespace(id="of-the-try", map_index=-1), "dag_run": dag_run}
    event = {"chosen_options": ["approve"], "responded_by_user": {"id": "7", "name": "ann"}}
    seen = asdict(Seen(workflow_id="r6.machine", asked=2))

    with pytest.raises(TaskDeferred) as deferred:
        operator.resume(context, event, seen)
    with pytest.raises(TaskDeferred) as again:
        operator.resume(context, {"woken_by": "time", "first_refused_at": 1.0}, **deferred.value.kwargs)

    assert deferred.value.kwargs == again.value.kwargs == {"seen": seen, "held": event}
    with pytest.raises(Unavailable):
        operator.resume(context, {"woken_by": "machine"}, seen)


SKIPPABLE = StateMachine(
    "skippable",
    [
        State("work", action=Action("worker"), transitions=[Go("wait"), Go("wait", "skip")]),
        State("wait", transitions=[Go("done", "approve")]),
        State("done", final="succeeded"),
    ],
    initial="work",
)

SIGNED = StateMachine(
    "signed", [State("wait", transitions=[Go("done", "approve")]), State("done", final="succeeded")], initial="wait"
)


async def test_an_action_that_an_event_ends_while_it_is_refused_is_left_behind(artifacts, monkeypatch):
    team = Team("desk", policies={"worker": Policies(breaker=BreakerPolicy())})
    team.agent("worker")(lambda _: None)
    refused = []

    async def overtaken(orchestrator, machine, *, workflow_id, **rest):
        try:
            return await execute_machine(orchestrator, machine, workflow_id=workflow_id, **rest)
        except BreakerOpen as error:
            refused.append(error)
            await StateMachineRun(journal, workflow_id).send("skip")
            raise

    monkeypatch.setattr(machine_turn, "execute_machine", overtaken)
    journal = Journal(MemoryJournalStore())
    async with Runtime(team, artifacts=f"file://{artifacts}", store="memory://", journal=journal) as runtime:
        breaker = CircuitBreaker("worker", BreakerPolicy(), store=runtime.orchestrator.pipeline.store)
        await breaker.force_open()
        turn = Turn(
            runtime=runtime,
            team=team,
            machine=SKIPPABLE,
            params={},
            run="r1",
            intent=Intent(),
            seen=Seen(),
            ticket="t",
            asks=True,
            on_event=lambda _: None,
            tell=lambda _: None,
            warn=lambda _: None,
        )

        came = await turn.take(None)
        await breaker.aclose()

    assert len(refused) == 1
    assert isinstance(came, Parked)
    assert (came.status.state, came.question.options) == ("wait", ("approve", "skip"))


def turn_of(runtime, **fields):
    defaults = {
        "team": Team("people"), "machine": SIGNED, "params": {}, "run": "r1", "intent": Intent(), "seen": Seen(),
        "ticket": "t", "asks": True, "on_event": lambda _: None, "tell": lambda _: None, "warn": lambda _: None,
    }  # fmt: skip
    return Turn(runtime=runtime, **defaults | fields)


@pytest.mark.parametrize(("users", "taken"), [((), True), (("7", "8"), True), (("8",), False)])
async def test_an_answer_counts_of_those_who_may_give_it_whoever_might_when_it_was_first_asked(artifacts, users, taken):
    said = []
    journal = Journal(MemoryJournalStore())
    async with Runtime(Team("people"), artifacts=f"file://{artifacts}", journal=journal) as runtime:
        await turn_of(runtime).take(None)

        answer = Answer(("approve",), {}, ("ann", "7"), 1.0)
        came = await turn_of(runtime, seen=Seen(asked=1), users=users, warn=said.append).take(answer)

    assert isinstance(came, Ended) is taken
    assert said == ([] if taken else ["what ann chose was not taken: 8 may answer"])


def test_an_error_of_whatever_name_is_told():
    error = ErrorInfo("E" * 1000, "why " * 75)
    status = MachineStatus("r1", "m", "0" * 64, "lost", 2, 0.0, "over", status="failed", error=error)

    assert status_document(status)["error"] == {"type": error.type, "message": ""}


def test_the_example_goes_on_with_what_is_sent_from_elsewhere(in_airflow, state_url):
    source = (REPOSITORY / "dags" / "review_until_approved.py").read_text()
    assert len(source.splitlines()) < 60
    person = Person(state_url, "r5.article", (2, "revise", {"comment": "shorter"}), (4, "approve", None))
    person.start()

    run = in_airflow.test(source, coterie_run_id="r5")

    assert run.states() == {("article", -1): "success"}
    assert run.load("article")["outputs"]["draft"].endswith("Version 2.\n\nRevised: shorter")
