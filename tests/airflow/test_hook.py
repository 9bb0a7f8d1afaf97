"""The connection: read from where Airflow keeps it, checked, opened."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_coterie import CoterieHook, hook
from airflow_provider_coterie.hook import CoterieSettings
from coterie import Ref, Team
from coterie.errors import Misuse, PolicyError
from tests.airflow.conftest import connection
from tests.airflow.fleet_agents import TEAM_PATH as FLEET
from tests.support.redis_servers import free_port


def test_a_connection_in_the_environment_is_read(monkeypatch):
    extra = {"namespace": "blue", "team_path": "tests.airflow.agents:team", "shared_file_system": True}
    monkeypatch.setenv("AIRFLOW_CONN_MINE", connection("file:///store", **extra))

    settings = CoterieHook("mine").settings

    assert settings == CoterieSettings("file:///store", "blue", "tests.airflow.agents:team", shared_file_system=True)


def test_a_connection_may_be_a_uri(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_MINE", "coterie://?artifacts=s3%3A%2F%2Fbucket%2Fprefix")

    assert CoterieHook("mine").settings == CoterieSettings("s3://bucket/prefix")


@pytest.mark.usefixtures("airflow_database")
def test_a_missing_connection_is_named(monkeypatch):
    monkeypatch.delenv("COTERIE_ARTIFACTS", raising=False)

    with pytest.raises(Misuse, match=r"no connection 'nowhere'.*AIRFLOW_CONN_NOWHERE="):
        _ = CoterieHook("nowhere").settings


@pytest.mark.usefixtures("airflow_database")
def test_without_a_store_the_error_says_what_one_machine_needs(monkeypatch):
    monkeypatch.delenv("COTERIE_ARTIFACTS", raising=False)
    monkeypatch.delenv("AIRFLOW_CONN_COTERIE_DEFAULT", raising=False)

    with pytest.raises(
        Misuse, match=r"no connection 'coterie_default'.*\}\}'; or, on one machine, set COTERIE_ARTIFACTS=file:///"
    ):
        _ = CoterieHook().settings


@pytest.mark.usefixtures("airflow_database")
def test_the_environment_stands_for_the_default_connection(monkeypatch):
    monkeypatch.setenv("COTERIE_ARTIFACTS", "file:///from/environment")

    assert CoterieHook().settings == CoterieSettings("file:///from/environment")


@pytest.mark.parametrize(("given", "found"), [(7, 7.0), ("7.5", 7.5), (0, 0.0), ("", 2.0), (None, 2.0)])
def test_a_connection_says_how_long_agents_may_go_on(monkeypatch, artifacts, given, found):
    monkeypatch.setenv("COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S", "30")
    monkeypatch.setenv("AIRFLOW_CONN_MINE", connection(artifacts, graceful_shutdown_timeout_s=given))

    runtime = CoterieHook("mine").runtime("tests.airflow.agents:team")

    assert runtime.orchestrator.graceful_shutdown_timeout_s == found


@pytest.mark.parametrize(("said", "found"), [("30", 30.0), ("", 2.0)])
def test_for_the_default_connection_the_environment_says_it(monkeypatch, artifacts, said, found):
    monkeypatch.setenv("COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S", said)

    assert CoterieHook().settings.graceful_shutdown_timeout_s == found


@pytest.mark.parametrize("given", ["soon", "nan", -1, True])
def test_what_is_no_time_names_the_connection(monkeypatch, artifacts, given):
    monkeypatch.setenv("AIRFLOW_CONN_MINE", connection(artifacts, graceful_shutdown_timeout_s=given))

    with pytest.raises(PolicyError, match="'graceful_shutdown_timeout_s' of the connection 'mine'"):
        _ = CoterieHook("mine").settings


def test_a_connection_without_a_store_is_refused(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_MINE", '{"conn_type": "coterie"}')

    with pytest.raises(Misuse, match="names no artifact store"):
        _ = CoterieHook("mine").settings


def test_credentials_in_the_store_s_url_are_refused_and_not_shown(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_MINE", connection("s3://key:hunter2@bucket/prefix"))

    with pytest.raises(Misuse) as refusal:
        CoterieHook("mine").get_conn()

    assert "hunter2" not in str(refusal.value)


def test_a_local_store_is_refused_in_a_worker_of_a_fleet(monkeypatch, artifacts):
    monkeypatch.setattr(hook, "is_in_process", lambda: False)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor,CeleryExecutor")

    assert CoterieHook().settings.artifacts == f"file://{artifacts}"
    with pytest.raises(PolicyError, match="'CeleryExecutor'"):
        _ = CoterieHook(executor="CeleryExecutor").settings


def fleet(monkeypatch, **named):
    """The default connection, as a JSON text, seen from a worker of the LocalExecutor."""
    monkeypatch.setattr(hook, "is_in_process", lambda: False)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor,CeleryExecutor")
    document = connection("file:///mnt/shared", shared_file_system=True, **named)
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", document)


def test_the_state_store_is_the_connection_s_with_its_password(monkeypatch):
    fleet(monkeypatch, store="rediss://host:6379/2", password="hunter2")

    opened = CoterieHook(executor="CeleryExecutor")

    assert opened.settings.store == "rediss://:hunter2@host:6379/2"
    assert "hunter2" not in repr(opened.settings)
    assert opened.get_state_store().url == "rediss://host:6379/2"
    assert opened.runtime(FLEET).store.url == "rediss://host:6379/2"
    assert asyncio.run(opened.aget_state_store()).url == "rediss://host:6379/2"


def test_a_variable_names_the_state_store_of_the_default_connection_alone(monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", "redis://elsewhere:6380")
    fleet(monkeypatch)
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", connection("s3://bucket/prefix"))

    assert CoterieHook().get_state_store().url == "redis://elsewhere:6380/0"
    assert CoterieHook("other").get_state_store().url.startswith("sqlite://")


def test_a_store_of_the_connection_comes_before_the_variable(monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", "redis://elsewhere:6380")
    fleet(monkeypatch, store="redis://here")

    assert CoterieHook().get_state_store().url == "redis://here:6379/0"


@pytest.mark.usefixtures("airflow_database")
def test_without_a_connection_variables_name_both_stores(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_COTERIE_DEFAULT", raising=False)
    monkeypatch.setenv("COTERIE_ARTIFACTS", "s3://bucket/prefix")
    monkeypatch.setenv("COTERIE_STORE", "redis://:hunter2@elsewhere")

    settings = CoterieHook().settings

    assert CoterieHook().get_state_store().url == "redis://elsewhere:6379/0"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("named", "executor", "message"),
    [
        ({}, "CeleryExecutor", "'CeleryExecutor' runs tasks on others"),
        ({"store": "sqlite:///var/state.db"}, "CeleryExecutor", "'CeleryExecutor' runs tasks on others"),
        ({"store": "memory://"}, None, "every Airflow task has its own"),
    ],
)
def test_a_state_store_that_the_run_s_other_tasks_cannot_see_is_refused(monkeypatch, named, executor, message):
    monkeypatch.delenv("COTERIE_STORE", raising=False)
    fleet(monkeypatch, **named)

    with pytest.raises(PolicyError, match=message):
        CoterieHook(executor=executor).runtime(FLEET)
    with pytest.raises(PolicyError, match=message):
        CoterieHook(executor=executor).get_state_store()
    assert CoterieHook(executor=executor).runtime("tests.airflow.agents:team").store is None


def test_a_database_of_this_machine_serves_the_local_executor(monkeypatch, tmp_path):
    monkeypatch.setenv("COTERIE_HOME", str(tmp_path))
    monkeypatch.delenv("COTERIE_STORE", raising=False)
    fleet(monkeypatch)

    assert CoterieHook().runtime(FLEET).store.url == f"sqlite://{tmp_path}/state.db"


def test_the_form_s_button_asks_the_state_store_too(monkeypatch, artifacts, tmp_path):
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=f"sqlite://{tmp_path}/state.db"))

    ok, message = CoterieHook().test_connection()

    assert ok, message
    assert f"the state store 'sqlite://{tmp_path}/state.db' answers" in message


def test_the_form_s_button_says_that_the_state_store_does_not_answer(monkeypatch, artifacts):
    url = f"redis://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url))

    ok, message = CoterieHook().test_connection()

    assert not ok
    assert f"{url}/0 (named by the connection 'coterie_default')" in message


def test_so_it_says_where_the_environment_names_the_store(monkeypatch, artifacts):
    monkeypatch.setenv("COTERIE_STORE", f"redis://127.0.0.1:{free_port()}")

    ok, message = CoterieHook().test_connection()

    assert not ok
    assert "(named by COTERIE_STORE)" in message


def test_the_form_s_button_stores_and_reads_an_object(artifacts):
    ok, message = CoterieHook().test_connection()

    assert ok, message
    assert str(artifacts) in message


def test_the_form_s_button_says_what_is_wrong(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(tmp_path / "file" / "below"))

    ok, message = CoterieHook().test_connection()

    assert not ok
    assert "check that it is reachable" in message


def test_a_hook_loads_a_reference(artifacts):
    assert CoterieHook().load(Ref.inline(b'{"a": 1}')) == {"a": 1}


def test_without_a_team_the_error_says_where_to_name_one(artifacts):
    with pytest.raises(Misuse, match="neither the task nor the connection 'coterie_default' names a team"):
        CoterieHook().team()


def test_a_log_of_this_machine_is_refused_where_its_readers_are_on_others(monkeypatch):
    fleet(monkeypatch, store="sqlite:///var/state.db")

    assert CoterieHook().get_log_store().url == "sqlite:///var/state.events.db"
    with pytest.raises(PolicyError, match="'CeleryExecutor' runs tasks on others"):
        CoterieHook(executor="CeleryExecutor").get_log_store()


def test_a_team_that_asks_workers_needs_a_store_that_they_share(monkeypatch):
    fleet(monkeypatch, store="sqlite:///var/state.db")
    asking, alone = Team("asking"), Team("alone")
    asking.remote("far")
    alone.agent("near")(lambda task_input: task_input)

    assert CoterieHook(executor="CeleryExecutor").runtime(alone).store is None
    with pytest.raises(PolicyError, match="'CeleryExecutor' runs tasks on others"):
        CoterieHook(executor="CeleryExecutor").runtime(asking)
