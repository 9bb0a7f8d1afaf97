"""The link "Trace" of a task, in one process: which run and trace it leads to, and that nothing depends on it."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_coterie import CoterieHook
from airflow_provider_coterie.trace_link import CoterieTraceLink, TracedRun
from coterie.journal import Intent
from coterie.journal.header import Header
from coterie.telemetry.links import TraceUrl, run_trace_id_text
from tests.airflow.conftest import connection

BEGUN_IN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SOURCE = """
from airflow_provider_coterie import plan_to_dag
from tests.airflow import plans

dag = plan_to_dag(plans.chain, team_path=plans.TEAM_PATH, dag_id="linked")
"""
TASKS = ("first", "second", "third", "workflow_result")


def link_of(tested, task_id):
    """As Airflow's own link reads it; empty without one."""
    from airflow.models.taskinstancekey import TaskInstanceKey
    from airflow.serialization.definitions.operatorlink import XComOperatorLink

    key = TaskInstanceKey("linked", task_id, tested.run_id, 1, -1)
    return XComOperatorLink("Trace", "coterie_trace").get_link(None, ti_key=key)


def begin(hook, run, **fields):
    async def work():
        journal = hook.get_journal()
        try:
            await journal.begin(run, Header("p", "h" * 64, **fields), Intent())
        finally:
            await journal.aclose()

    asyncio.run(work())


def test_every_task_of_a_plan_leads_to_its_run_and_names_itself(in_airflow, monkeypatch):
    monkeypatch.setenv("COTERIE_TRACE_URL", "http://pages.example/runs/{run_id}?in={namespace}#{task_id}")

    tested = in_airflow.test(SOURCE, coterie_run_id="mine+1")

    links = {name: link_of(tested, name) for name in TASKS}
    at = "http://pages.example/runs/mine%2B1?in=default#"
    assert links == {"first": f"{at}first", "second": f"{at}second", "third": f"{at}third", "workflow_result": at}


def test_all_tasks_of_a_run_lead_to_one_trace(in_airflow, monkeypatch):
    monkeypatch.setenv("COTERIE_TRACE_URL", "http://traces.example/{trace_id}")

    tested = in_airflow.test(SOURCE, coterie_run_id="mine")

    links = {link_of(tested, name) for name in TASKS}
    assert links == {f"http://traces.example/{run_trace_id_text('default', 'mine', None)}"}


@pytest.mark.parametrize("template", ["", "http://traces.example/{trace}"])
def test_without_a_template_that_can_be_used_there_is_none_and_the_run_goes_on(in_airflow, monkeypatch, template):
    monkeypatch.setenv("COTERIE_TRACE_URL", template)

    tested = in_airflow.test(SOURCE)

    assert tested.state == "success"
    assert [link_of(tested, name) for name in TASKS] == [""] * 4
    assert tested.xcom("first", "coterie_trace") is None


def test_a_run_that_another_trace_began_leads_there(artifacts, airflow_home):
    hook = CoterieHook()
    begin(hook, "begun-elsewhere", traceparent=BEGUN_IN)
    begin(hook, "begun-here")

    elsewhere, here, unknown = (
        TracedRun(TraceUrl("http://h/{trace_id}"), hook, run).link()
        for run in ("begun-elsewhere", "begun-here", "not-begun")
    )

    assert elsewhere == f"http://h/{BEGUN_IN[3:35]}"
    assert here == f"http://h/{run_trace_id_text('default', 'begun-here', None)}"
    assert unknown == f"http://h/{run_trace_id_text('default', 'not-begun', None)}"


def test_what_is_known_only_later_is_told_then(artifacts, airflow_home):
    hook = CoterieHook()
    traced = TracedRun(TraceUrl("http://h/{trace_id}"), hook, "later")
    before = traced.link()

    begin(hook, "later", traceparent=BEGUN_IN)

    assert before == f"http://h/{run_trace_id_text('default', 'later', None)}"
    assert traced.link() == f"http://h/{BEGUN_IN[3:35]}"


def test_a_journal_that_does_not_answer_costs_no_task_anything(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection("memory://x", store="redis://127.0.0.1:1/0"))
    hook = CoterieHook()
    hook.settings  # noqa: B018  # read, as an operator has

    link = TracedRun(TraceUrl("http://h/{trace_id}"), hook, "r").link()

    assert link == f"http://h/{run_trace_id_text('default', 'r', None)}"


def test_a_connection_s_own_template_goes_before_the_environment_and_is_checked_by_its_test(monkeypatch, tmp_path):
    monkeypatch.setenv("COTERIE_TRACE_URL", "http://env.example/{run_id}")
    given = connection(tmp_path / "artifacts", trace_url="http://own.example/{trace}")
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_OWN", given)

    works, told = CoterieHook("coterie_own").test_connection()

    assert CoterieHook("coterie_own").settings.trace_url == "http://own.example/{trace}"
    assert not works
    assert told == (
        "'trace_url' of the connection 'coterie_own' has a field 'trace'; "
        "there are '{trace_id}', '{run_id}', '{namespace}' and '{task_id}'"
    )


def test_airflow_knows_the_link_and_every_operator_of_a_run_has_it():
    from airflow.providers_manager import ProvidersManager

    import airflow_provider_coterie as provider

    assert "airflow_provider_coterie.trace_link.CoterieTraceLink" in ProvidersManager().extra_links_class_names
    for kind in ("Agent", "Approval", "Decompose", "StateMachine", "Workflow"):
        operator = getattr(provider, f"Coterie{kind}Operator")
        assert [link.name for link in operator.operator_extra_links] == ["Trace"], kind


def test_the_link_of_what_knows_no_run_is_empty():
    link = CoterieTraceLink()

    assert (link.name, link.xcom_key) == ("Trace", "coterie_trace")
    assert link.get_link(object(), ti_key=None) == ""
