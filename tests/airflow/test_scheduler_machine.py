"""State machines with people in the loop, on a real scheduler: asked and answered over Airflow's own API."""

from __future__ import annotations

import asyncio

import pytest

from tests.airflow.people import begun
from tests.airflow.reviewing import at_run

pytestmark = pytest.mark.airflow


def at(state_server, run_id, work):
    return asyncio.run(at_run(state_server.url, run_id, work))


def history(state_server, run_id):
    async def read(run):
        return [(visit.trigger, visit.to, visit.who) for visit in await run.history()]

    return at(state_server, run_id, read)


@pytest.fixture(scope="module")
def runs(server, server_artifacts):
    """Every run, begun at once."""
    return begun(server, server_artifacts, "review_until_approved", "sent_elsewhere", "with_a_reason")


def test_a_machine_asks_for_each_review_holds_no_worker_and_ends_as_a_person_decides(runs, state_server, server):
    run = runs["review_until_approved"]
    first = run.until_asked("article", state="deferred")
    assert first["options"] == ["approve", "revise"]
    assert first["subject"] == "review-until-approved: review (visit 2)"
    assert "Version 1." in first["body"]
    server.wait_for("no worker", lambda: server.call("GET", "/api/v2/pools/default_pool")["running_slots"] == 0)

    run.answer("article", "revise", comment="shorter")
    run.until_asked("article", 2, state="deferred")
    assert "Version 2." in run.log("article")
    run.answer("article", "approve", _code=run.code("article"))

    assert run.wait()["state"] == "success"
    assert run.tries() == {("article", -1): 1}
    by = run.question("article")["responded_by_user"]["name"]
    assert history(state_server, f"{run.name}.article") == [
        ("succeeded", "review", ""),
        ("revise", "draft", by),
        ("succeeded", "review", ""),
        ("approve", "published", by),
    ]
    assert run.load("article")["outputs"]["draft"].endswith("Version 2.\n\nRevised: shorter")
    assert all(size <= 1024 for size in run.xcom_sizes().values())


def test_an_event_from_elsewhere_goes_first_and_who_answers_what_was_asked_before_decides_nothing(runs, state_server):
    run = runs["sent_elsewhere"]
    run.until_asked("article", state="deferred")

    at(state_server, f"{run.name}.article", lambda machine: machine.send("revise", who="ann", visit=2))
    run.until_asked("article", 2, state="deferred")
    assert run.question("article")["subject"] == "review: review (visit 2)"
    run.answer("article", "approve")
    run.until_asked("article", 3, state="deferred")
    assert visit_of(state_server, run) == 4
    run.answer("article", "approve", _code=run.code("article"))

    assert run.wait()["state"] == "success"
    assert "answered an earlier question, whose words Airflow still shows" in run.log("article")
    assert [step[:2] for step in history(state_server, f"{run.name}.article") if step[2]] == [
        ("revise", "draft"),
        ("approve", "done"),
    ]


def visit_of(state_server, run):
    return at(state_server, f"{run.name}.article", lambda machine: machine.status()).visit


def test_what_the_machine_does_not_take_is_asked_anew(runs, state_server):
    run = runs["with_a_reason"]
    run.until_asked("decision", state="deferred")

    run.answer("decision", "approve", comment="")
    run.until_asked("decision", 2, state="deferred")
    assert history(state_server, f"{run.name}.decision") == []

    run.answer("decision", "approve", comment="because")
    assert run.wait()["state"] == "success"
    assert "was not taken: the machine 'guarded' is in the state 'wait'" in run.log("decision")


def test_a_task_that_is_cleared_after_its_machine_ended_begins_another(runs, state_server):
    run = runs["with_a_reason"]
    run.wait()
    # A person clears what Airflow has as a success.
    run.clear("decision")

    run.until_asked("decision", attempt=2, state="deferred")
    run.answer("decision", "approve", comment="because", _code=run.code("decision", attempt=2))

    assert run.wait()["state"] == "success"
    assert len(history(state_server, f"{run.name}.decision")) == 1
    assert len(history(state_server, f"{run.name}.decision.2")) == 1
