"""What a person is asked on the server, and what their answers are worth."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from uuid import uuid4

import pytest
from airflow.sdk import Param
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time import task_runner

from airflow_provider_coterie import CoterieApprovalOperator, CoterieWorkflowOperator
from airflow_provider_coterie.asking import Answer, Question, form_of, put, told
from airflow_provider_coterie.operators.approval import _Reply
from airflow_provider_coterie.operators.plan_task import Surroundings
from coterie import Approval, Approvals, Intent, Journal, Runtime, Team
from coterie.approvals import Place
from coterie.errors import Misuse, Unavailable
from coterie.stores.journal_memory import MemoryJournalStore
from tests.airflow.conftest import connection
from tests.airflow.reviewing import TEAM_PATH, signed

QUESTION = Question("Publish it?", ("approve", "reject"), "Version 1")


class Kept:
    """A server that keeps the first question of a task instance, as Airflow does."""

    def __init__(self):
        self.first, self.params = None, None

    def send(self, msg):
        self.first, self.params = self.first or msg, msg.params
        return self.first


@pytest.fixture
def server(monkeypatch):
    kept = Kept()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", kept, raising=False)
    return kept


def asked(question):
    return put({"ti": SimpleNamespace(id=uuid4())}, question)


def test_a_question_that_is_asked_anew_in_the_same_words_is_shown(server):
    assert asked(QUESTION)
    assert asked(QUESTION)
    assert "_code" in server.params


@pytest.mark.parametrize("other", [{"subject": "Print it?"}, {"body": "Version 2"}, {"options": ("approve", "later")}])
def test_a_question_in_other_words_than_are_shown_is_told_with_a_code_of_its_own(server, other):
    asked(QUESTION)
    question = replace(QUESTION, **other)

    assert not asked(question)

    assert question.code != QUESTION.code
    assert all(text in told(question) for text in (question.code, question.subject, question.body))


def test_what_is_not_shown_is_answered_with_its_code():
    user = {"id": "7", "name": "ann"}
    event = {"chosen_options": ["approve"], "params_input": {"_code": " 12ab34 "}, "responded_by_user": user}

    answer = Answer.of(event)

    assert answer.choice("12ab34") == "approve"
    assert answer.values == {}
    with pytest.raises(Misuse, match=r"ann gave the code '12ab34', which is wrong: .* has the code ffffff"):
        answer.choice("ffffff")
    with pytest.raises(Misuse, match=r"ann answered an earlier question.*answer with its code, ffffff"):
        replace(answer, code="").choice("ffffff")


@pytest.mark.parametrize("options", [[], ["approve", "reject"]])
def test_one_option_is_chosen(options):
    answer = Answer.of({"chosen_options": options, "responded_by_user": {"id": "7", "name": "ann"}})

    with pytest.raises(Misuse, match=r"ann chose .*; choose one"):
        answer.choice("")


def test_a_form_has_what_may_be_filled_in():
    form = form_of({"comment": Param("", type="string", description="Why."), "copies": 1})

    assert (form["comment"]["value"], form["comment"]["description"]) == ("", "Why.")
    assert form["copies"]["value"] == 1
    with pytest.raises(Misuse, match="the field '_options' is not a usable name"):
        form_of({"_options": 1})


def test_an_answer_is_told_from_what_else_resumes_a_task():
    at = datetime(2026, 11, 27, tzinfo=UTC)
    filled = {"comment": "good", "copies": 0, "left": "", "out": None}
    event = {"chosen_options": ["approve"], "params_input": filled, "responded_at": at}

    by_ann = Answer.of({**event, "responded_by_user": {"id": "7", "name": "ann"}})
    by_nobody = Answer.of({**event, "responded_by_user": None})

    assert by_ann == Answer(("approve",), {"comment": "good", "copies": 0}, ("ann", "7"), at.timestamp())
    assert (by_ann.by, by_nobody.by) == ("ann", None)
    assert Answer.of({"woken_by": "machine"}) is None
    assert Answer.of({"error": "too late", "error_type": "timeout"}) is None


def test_an_approval_operator_is_told_what_to_ask_once():
    with pytest.raises(Misuse, match="the task 'a' asks nothing, or two things; pass question or approval"):
        CoterieApprovalOperator(task_id="a")
    with pytest.raises(Misuse, match="asks nothing, or two things"):
        CoterieApprovalOperator(task_id="a", question="This?", approval=Approval("That?"))


def test_an_answer_is_held_while_the_journal_is_away(artifacts, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store="redis://127.0.0.1:1/0"))
    operator = CoterieApprovalOperator(task_id="a", question="Publish it?")
    names = {"map_index": -1, "dag_id": "one", "task_id": "a", "run_id": "r1"}
    pushed = {"xcom_push": lambda *_: None, "get_task_breadcrumbs": lambda **_: []}
    ti = SimpleNamespace(id=uuid4(), **names, **pushed)
    dag_run = SimpleNamespace(conf={}, dag_id="one", run_id="r1", clear_number=0)
    event = {"chosen_options": ["approve"], "responded_by_user": {"id": "7", "name": "ann"}}

    with pytest.raises(TaskDeferred) as deferred:
        operator.resume({"ti": ti, "dag_run": dag_run}, event, asked_id="abc.0.1", code="12ab34")
    with pytest.raises(TaskDeferred) as again:
        operator.resume({"ti": ti, "dag_run": dag_run}, {"woken_by": "time"}, **deferred.value.kwargs)

    assert deferred.value.kwargs == {"asked_id": "abc.0.1", "code": "12ab34", "answer": event}
    assert again.value.kwargs == deferred.value.kwargs
    with pytest.raises(Unavailable):
        operator.execute({"ti": ti, "dag_run": dag_run})


@pytest.mark.parametrize("choice", ["approve", "reject"])
@pytest.mark.parametrize("first", [None, "approve", "reject"])
async def test_whoever_answers_second_is_told_with_a_warning(artifacts, monkeypatch, choice, first):
    said = []
    levels = {level: partial(lambda level, *_: said.append(level), level) for level in ("info", "warning")}
    monkeypatch.setattr(CoterieApprovalOperator, "log", SimpleNamespace(**levels))
    operator = CoterieApprovalOperator(task_id="a", question="Publish it?")
    task, journal = operator.task_of(), Journal(MemoryJournalStore())
    event = {"chosen_options": [choice], "responded_by_user": {"id": "7", "name": "ann"}}
    async with Runtime(Team("people"), artifacts=f"file://{artifacts}", journal=journal) as runtime:
        identity = SimpleNamespace(workflow_id="r1", epoch=0)
        here = runtime.orchestrator, runtime.artifacts, identity
        around = Surroundings(Team("people"), *here, upstream={}, params={}, plan=None, intent=Intent())
        asked = await runtime.orchestrator.ask(task, place=Place("process", ""), workflow_id="r1")
        if first is not None:
            await Approvals(journal).answer("r1", "a", first, by="ben")

        await operator._decided(around, task, _Reply(asked.id, "", event))

    assert said == ["info" if first is None else "warning"]


def test_a_plan_in_which_a_person_decides_is_refused_where_it_would_hold_a_worker(artifacts, tmp_path, monkeypatch):
    store = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=store))
    operator = CoterieWorkflowOperator(task_id="plan", plan=signed, team_path=TEAM_PATH)
    dag_run = SimpleNamespace(conf={}, dag_id="one", run_id="r1", clear_number=0)

    with pytest.raises(Exception, match=r"'sign-off' of 'signed' waits for a person.*plan_to_dag") as refused:
        operator.execute({"ti": SimpleNamespace(map_index=-1), "dag_run": dag_run})

    assert type(refused.value).__name__ == "AirflowFailException"
