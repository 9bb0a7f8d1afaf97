"""Approvals on a real scheduler: asked without a worker, answered over Airflow's own API, kept in the journal."""

from __future__ import annotations

import asyncio

import pytest

from coterie.approvals import Approvals
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store
from tests.airflow.people import begun

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def runs(server, server_artifacts):
    """Every run, begun at once."""
    return begun(
        server, server_artifacts, "signed", "rejected", "kept", "of_ann", "of_this_try", "too_late", "by_default"
    )


def in_journal(state_server, work):
    async def run():
        journal = Journal(open_journal_store(state_server.url, "default"))
        try:
            return await work(journal)
        finally:
            await journal.aclose()

    return asyncio.run(run())


def decision(state_server, run, task_id="sign-off"):
    async def read(journal):
        (one,) = await Approvals(journal).of_run(run.name)
        assert one.task_id == task_id
        return one.decision

    return in_journal(state_server, read)


def test_a_person_decides_while_no_worker_is_held_and_the_plan_goes_on(runs, server, state_server):
    run = runs["signed"]

    asked = run.until_asked("sign-off")
    server.wait_for("no worker", lambda: server.call("GET", "/api/v2/pools/default_pool")["running_slots"] == 0)
    run.answer("sign-off", "approve", copies=3, note="nice")

    assert (asked["subject"], asked["options"]) == ("Publish it?", ["approve", "reject"])
    assert "version 1" in asked["body"]
    assert set(asked["params"]) == {"copies", "note", "_code"}
    assert run.wait()["state"] == "success"
    decided = run.load("print")
    assert (decided["choice"], decided["note"], decided["values"]) == ("approve", "nice", {"copies": 3})
    assert decided["by"] == run.question("sign-off")["responded_by_user"]["name"]
    assert decision(state_server, run).to_dict() == decided
    assert all(size <= 1024 for size in run.xcom_sizes().values())


def test_a_rejection_fails_the_task_without_a_retry_and_what_follows_does_not_run(runs, state_server):
    run = runs["rejected"]
    run.until_asked("sign-off")

    run.answer("sign-off", "reject", note="too long")

    assert run.wait()["state"] == "failed"
    assert run.states() == {
        ("draft", -1): "success",
        ("sign-off", -1): "failed",
        ("print", -1): "upstream_failed",
        ("workflow_result", -1): "failed",
    }
    assert run.tries()["sign-off", -1] == 1
    error = run.result()["sign-off"].error
    assert error.type == "ApprovalRejected"
    assert "too long" in error.message
    assert decision(state_server, run).choice == "reject"


def test_a_rejection_is_asked_for_anew_when_its_task_is_cleared(runs, state_server):
    run = runs["rejected"]
    run.wait()

    run.clear("sign-off")
    run.until_asked("sign-off", attempt=2)
    run.answer("sign-off", "approve")

    assert run.wait()["state"] == "success"
    assert decision(state_server, run).choice == "approve"


def test_a_decision_that_is_to_be_kept_is_not_asked_for_when_its_task_is_cleared(runs):
    run = runs["kept"]
    run.until_asked("sign-off")
    run.answer("sign-off", "approve")
    assert run.wait()["state"] == "success"

    run.clear("sign-off")

    assert run.wait()["state"] == "success"
    assert run.tries()["sign-off", -1] == 2
    assert "replayed 'sign-off', not done again" in run.log("sign-off", attempt=2)


def test_a_cleared_decision_is_asked_for_anew(runs, state_server):
    run = runs["signed"]
    run.wait()

    run.clear("sign-off")
    run.until_asked("sign-off", attempt=2)
    run.answer("sign-off", "reject")

    assert run.wait()["state"] == "failed"
    assert decision(state_server, run).choice == "reject"


def test_only_those_who_are_named_decide_and_the_first_answer_stands_wherever_it_came_from(runs, state_server):
    run = runs["of_ann"]
    run.until_asked("decision")

    run.answer("decision", "reject")
    second = run.until_asked("decision", 2)
    assert "of_ann" in second["body"]

    async def answer(journal):
        return await Approvals(journal).answer(run.name, "decision", "approve", by="ann", anyway=True)

    in_journal(state_server, answer)
    run.answer("decision", "reject")

    assert run.wait()["state"] == "success"
    assert run.load("decision")["by"] == "ann"
    assert run.tries() == {("decision", -1): 1}
    assert "the answer was not taken" in run.log("decision")
    assert "answered 'reject'; it is decided: 'approve', by ann" in run.log("decision")


def test_nobody_decides_on_what_they_have_not_seen_where_airflow_goes_on_showing_an_earlier_question(runs):
    run = runs["of_this_try"]
    assert '"try": "1"' in run.until_asked("decision")["body"]
    run.answer("decision", "approve")
    assert run.wait()["state"] == "success"
    run.clear("decision")
    assert '"try": "1"' in run.until_asked("decision", attempt=2)["body"]

    run.answer("decision", "approve")
    run.until_asked("decision", 2, attempt=2)
    run.answer("decision", "approve", _code=run.code("decision", attempt=2))

    assert run.wait()["state"] == "success"
    log = run.log("decision", attempt=2)
    assert "the answer was not taken: Anonymous answered an earlier question" in log
    assert log.count("it is decided") == 1


def test_what_nobody_answers_in_time_fails_without_a_retry(runs):
    run = runs["too_late"]

    assert run.wait()["state"] == "failed"
    assert run.tries() == {("decision", -1): 1}
    assert "nobody answered 'Quickly: shall it?'" in run.log("decision")


def test_what_nobody_answers_in_time_is_decided_as_the_question_says(runs, state_server):
    run = runs["by_default"]

    assert run.wait()["state"] == "success"
    assert (run.load("decision")["choice"], run.load("decision")["by"]) == ("approve", "timeout")
    assert decision(state_server, run, "decision").by == "timeout"
