"""Shapes of plans and DAGs under `dag.test()`: the states are those of the in-process engine."""

from __future__ import annotations

import pytest

from tests.airflow import plans
from tests.airflow.in_process import run_in_process

PLAN_DAG = """
    from airflow_provider_coterie import plan_to_dag
    from tests.airflow import plans

    dag = plan_to_dag(plans.{name}, team_path=plans.TEAM_PATH{more})
"""


def test_a_foreach_ends_in_every_way_as_in_process(in_airflow, tmp_path):
    run = in_airflow.test(PLAN_DAG.format(name="shapes", more=", foreach_parts=3"))

    here = run_in_process(plans.shapes, tmp_path / "here")
    assert run.result().status_document() == here.status_document()
    assert {state for (task, _), state in run.states().items() if task == "empty.each"} == {"skipped"}
    assert run.load("report")["given"]["succeeded"] == ["a", "b", "a"]


def test_parts_with_failed_items_fail_only_where_none_is_tolerated(in_airflow, tmp_path):
    run = in_airflow.test(PLAN_DAG.format(name="partial", more=", foreach_parts=2"))

    states = run.states()
    assert (states["strict.each", 0], states["strict.each", 1]) == ("failed", "success")
    assert (states["lenient.each", 0], states["lenient.each", 1]) == ("success", "success")
    assert (states["strict.gather", -1], states["lenient.gather", -1]) == ("failed", "success")
    assert run.result().status_document() == run_in_process(plans.partial, tmp_path / "here").status_document()


@pytest.mark.parametrize(("on_partial", "state"), [("succeed", "success"), ("fail", "failed")])
def test_a_partial_run_ends_as_the_dag_s_author_wants(in_airflow, on_partial, state):
    run = in_airflow.test(PLAN_DAG.format(name="partial", more=f", on_partial={on_partial!r}"))

    assert run.state == state
    assert run.xcom("workflow_result", "coterie_status")["status"] == "partial"
    assert run.result().status == "partial"


def test_a_failed_run_leaves_its_result(in_airflow):
    run = in_airflow.test(PLAN_DAG.format(name="failed", more=""))

    assert run.state == "failed"
    assert run.result().status == "failed"
    assert run.xcom("broken", "coterie_result")["error"] == {"type": "ValueError", "message": "this agent always fails"}


def test_a_failed_agent_is_not_repeated_by_the_scheduler(in_airflow):
    run = in_airflow.test(PLAN_DAG.format(name="failed", more=', default_args={"retries": 3, "retry_delay": 0}'))

    assert run.tries()["broken"] == 1


def test_an_unavailable_store_is_tried_again_by_the_scheduler(in_airflow, monkeypatch, tmp_path):
    from tests.airflow.conftest import connection

    (tmp_path / "a-file").write_text("not a folder")
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(tmp_path / "a-file" / "store"))

    run = in_airflow.test(PLAN_DAG.format(name="stored", more=', default_args={"retries": 1, "retry_delay": 0}'))

    assert run.tries()["text"] == 2
    assert run.xcom("text", "coterie_result")["error"]["type"] == "Unavailable"


def test_an_unavailable_store_at_the_end_of_the_run_is_tried_again_too(in_airflow, monkeypatch):
    from airflow_provider_coterie.operators import result
    from coterie.errors import Unavailable

    asked, results_of = [], result.results_of

    async def away_once(store, ends):
        asked.append(1)
        if len(asked) == 1:
            raise Unavailable("the store is away")
        return await results_of(store, ends)

    monkeypatch.setattr(result, "results_of", away_once)

    run = in_airflow.test(PLAN_DAG.format(name="chain", more=', default_args={"retries": 1, "retry_delay": 0}'))

    assert (run.state, run.tries()["workflow_result"]) == ("success", 2)
    assert run.result().status == "succeeded"


def test_a_run_told_what_the_plan_does_not_take_is_refused_and_not_repeated(in_airflow):
    run = in_airflow.test(
        PLAN_DAG.format(name="resplit", more=', default_args={"retries": 3, "retry_delay": 0}'), paht="elsewhere"
    )

    assert run.state == "failed"
    assert run.tries()["list"] == 1
    assert run.xcom("list", "coterie_result")["error"] == {
        "type": "Misuse",
        "message": "the DAG takes no 'paht' (did you mean 'path'?) in a run's configuration; "
        "it takes: coterie_force, coterie_run_id, path; trigger a new run",
    }
    assert run.result().status == "failed"


def test_a_run_may_be_told_its_id_and_what_the_dag_declares_besides_the_plan(in_airflow):
    source = PLAN_DAG.format(name="chain", more=', params={"mine": 1}')

    run = in_airflow.test(source, coterie_run_id="my-own", mine=2, text="told")

    assert run.state == "success"
    assert run.load("second")["input"]["text"] == "told"


def test_around_a_task_group_a_run_may_be_told_anything(in_airflow):
    run = in_airflow.test(
        """
        from airflow.sdk import DAG
        from airflow_provider_coterie import plan_to_task_group
        from tests.airflow import plans

        with DAG("around", schedule=None) as dag:
            plan_to_task_group(plans.chain, team_path=plans.TEAM_PATH)
        """,
        read_by_others="yes",
    )

    assert run.state == "success"


def test_two_plans_live_in_one_dag_as_task_groups(in_airflow):
    run = in_airflow.test(
        """
        from airflow.sdk import DAG, task
        from airflow_provider_coterie import plan_to_task_group
        from tests.airflow import plans

        with DAG("groups", schedule=None, params={"text": "of the DAG"}) as dag:
            one = plan_to_task_group(plans.chain, team_path=plans.TEAM_PATH)
            two = plan_to_task_group(plans.shapes, team_path=plans.TEAM_PATH, group_id="two")
            one >> two
        """
    )

    assert run.load("chain.second")["input"]["text"] == "of the DAG"
    first, second = run.result("chain.workflow_result"), run.result("two.workflow_result")
    assert (first.status, second.status) == ("succeeded", "partial")
    assert first.workflow_id == f"airflow.groups.{run.run_id}.chain"
    assert second["whole"].items.total == 5


def test_a_plain_task_loads_what_an_agent_returned(in_airflow):
    run = in_airflow.test(
        """
        from airflow.sdk import DAG, task
        from airflow_provider_coterie import CoterieAgentOperator
        from tests.airflow.plans import TEAM_PATH

        with DAG("alone", schedule=None) as dag:
            text = CoterieAgentOperator(
                task_id="text", team_path=TEAM_PATH, agent_type="payload", input={"bytes": 30_000}
            )
            seen = CoterieAgentOperator(task_id="seen", team_path=TEAM_PATH, agent_type="measurer")
            echo = CoterieAgentOperator(
                task_id="echo",
                team_path=TEAM_PATH,
                agent_type="echo",
                input={"run": "{{ run_id }}", "lengths": seen.output},
            )

            @task
            def count(ref):
                return len(ref.load()["text"])

            @task
            def plain():
                return {"text": "four"}

            [text, plain()] >> seen
            count(text.output)
        """
    )

    assert run.state == "success"
    assert run.xcom("count") == 30_000
    assert run.load("echo")["input"] == {"run": run.run_id, "lengths": {"plain": 4, "text": 30_000}}


def test_a_decorated_function_makes_the_agent_s_input(in_airflow):
    run = in_airflow.test(
        """
        from airflow.sdk import DAG, task
        from tests.airflow.plans import TEAM_PATH

        with DAG("decorated", schedule=None) as dag:
            @task
            def number():
                return 20

            @task.coterie_agent(team_path=TEAM_PATH, agent_type="echo")
            def ask(number, run_id):
                return {"number": number, "run": run_id}

            @task
            def read(ref):
                return ref.load()["input"]

            read(ask(number()))
        """
    )

    assert run.state == "success"
    assert run.xcom("read") == {"number": 20, "run": run.run_id}


def test_an_agent_is_mapped_over_inputs(in_airflow):
    run = in_airflow.test(
        """
        from airflow.sdk import DAG, task
        from airflow_provider_coterie import CoterieAgentOperator
        from tests.airflow.plans import TEAM_PATH

        with DAG("mapped", schedule=None) as dag:
            many = CoterieAgentOperator.partial(task_id="many", team_path=TEAM_PATH, agent_type="echo").expand(
                input=[{"n": 1}, {"n": 2}]
            )
            CoterieAgentOperator(
                task_id="all", team_path=TEAM_PATH, agent_type="echo", input={"outputs": many.output}
            )
        """
    )

    assert run.state == "success"
    assert [one["input"]["n"] for one in run.load("all")["input"]["outputs"]] == [1, 2]


def test_an_objective_becomes_a_plan_that_runs_in_one_task(in_airflow, tmp_path):
    run = in_airflow.test(
        """
        from airflow.sdk import DAG
        from airflow_provider_coterie import CoterieDecomposeOperator, CoterieWorkflowOperator
        from tests.airflow.plans import TEAM_PATH

        with DAG("decomposed", schedule=None, params={"objective": "run the chain"}) as dag:
            made = CoterieDecomposeOperator(
                task_id="made",
                objective="{{ params.objective }}",
                decomposer_path="tests.airflow.plans:decomposer",
                team_path=TEAM_PATH,
            )
            CoterieWorkflowOperator(
                task_id="run", plan=made.output, plan_params={"text": "{{ run_id }}"}, team_path=TEAM_PATH
            )
        """
    )

    assert run.state == "success"
    assert run.result("run").status == "succeeded"
    assert run.result("run")["third"].state == "succeeded"
    assert run.xcom("run", "coterie_status")["status"] == "succeeded"


def test_an_agent_type_that_nobody_serves_is_refused_before_anything_runs(in_airflow):
    run = in_airflow.test(
        """
        import json, os
        from airflow_provider_coterie import plan_to_dag
        from coterie import Plan, Task

        connection = json.loads(os.environ["AIRFLOW_CONN_COTERIE_DEFAULT"])
        connection["extra"]["team_path"] = "tests.airflow.agents:team"
        os.environ["AIRFLOW_CONN_COTERIE_DEFAULT"] = json.dumps(connection)
        tasks = [Task("known", "echo"), Task("unknown", "alchemist", depends_on=("known",))]
        dag = plan_to_dag(Plan("unserved", tasks))
        """
    )

    record = run.xcom("known", "coterie_result")
    assert record["error"]["type"] == "UnknownAgentType"
    assert "'alchemist'" in record["error"]["message"]


def test_without_a_connection_the_error_says_how_to_make_one(in_airflow, monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_COTERIE_DEFAULT")

    run = in_airflow.test(PLAN_DAG.format(name="failed", more=""))

    error = run.xcom("list", "coterie_result")["error"]
    assert error["type"] == "Misuse"
    assert "AIRFLOW_CONN_COTERIE_DEFAULT" in error["message"]
