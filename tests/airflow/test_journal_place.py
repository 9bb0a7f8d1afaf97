"""Where the journal lies, and where there is none: a DAG runs all the same."""

from __future__ import annotations

import os

import pytest

from airflow_provider_coterie import CoterieHook, hook
from airflow_provider_coterie.state_store import why_no_journal
from coterie import sync
from coterie.errors import Misuse
from tests.airflow.billing import billing_server
from tests.airflow.conftest import connection
from tests.support.redis_servers import valkey

ONE = """
    from datetime import timedelta
    from airflow.sdk import DAG
    from tests.airflow.losing_operators import LosesItsFirstTry

    args = {{"team_path": "tests.airflow.paying_agents:team", "retries": 1, "retry_delay": timedelta(0)}}
    with DAG("one", schedule=None, default_args=args) as dag:
        LosesItsFirstTry(task_id="pay", agent_type="payer", input={{"billing": {url!r}, "what": {what!r}}})
"""


@pytest.fixture(scope="module")
def billing():
    with billing_server() as running:
        yield running


@pytest.fixture(scope="module")
def forgetful():
    """A server that keeps no file."""
    with valkey() as running:
        yield running


@pytest.fixture(scope="module")
def durable():
    """A server that writes to disk what it is told, before it answers."""
    with valkey(arguments=["--appendonly", "yes", "--appendfsync", "always"]) as running:
        yield running


@pytest.fixture
def in_a_fleet(monkeypatch):
    """As if tasks ran in workers of the CeleryExecutor."""
    monkeypatch.setattr(hook, "is_in_process", lambda: False)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.delenv("COTERIE_STORE", raising=False)


@pytest.fixture
def warned(monkeypatch):
    """What the hook warned of."""

    class Log:
        def __init__(self):
            self.lines = []

        def warning(self, line, *arguments):
            self.lines.append(line % arguments)

    log = Log()
    monkeypatch.setattr(CoterieHook, "log", log)
    return log.lines


@pytest.fixture
def named(monkeypatch, artifacts):
    """Makes the default connection."""

    def set_to(**extra):
        monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, shared_file_system=True, **extra))

    return set_to


def opened(**arguments):
    journal = CoterieHook(**arguments).get_journal()
    if journal is None:
        return None
    sync.run(journal.aclose())
    return journal.store.url, journal.store.durability


@pytest.mark.parametrize(
    ("said", "durability"), [({}, "strict"), ({"journal": ""}, "strict"), ({"journal": "relaxed"}, "relaxed")]
)
def test_it_lies_beside_the_state(named, tmp_path, said, durability):
    named(store=f"sqlite://{tmp_path}/state.db", **said)

    assert opened() == (f"sqlite://{tmp_path}/state.journal.db", durability)


def test_without_a_store_it_lies_in_the_database_of_this_machine(monkeypatch, named, tmp_path, warned):
    monkeypatch.setenv("COTERIE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COTERIE_STORE", raising=False)
    named()

    assert opened() == (f"sqlite://{tmp_path}/home/state.journal.db", "strict")
    assert warned == []


def test_off_is_off_without_a_word(named, warned):
    named(journal="off")

    assert opened() is None
    assert warned == []


def test_a_variable_says_it_where_the_default_connection_does_not(monkeypatch, named, tmp_path):
    monkeypatch.setenv("COTERIE_JOURNAL", "relaxed")
    named(store=f"sqlite://{tmp_path}/state.db")
    assert CoterieHook().settings.journal == "relaxed"

    named(store=f"sqlite://{tmp_path}/state.db", journal="off")
    assert CoterieHook().settings.journal == "off"
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", connection("s3://bucket/prefix"))
    assert CoterieHook("other").settings.journal == "strict"

    monkeypatch.setenv("COTERIE_JOURNAL", "always")
    named()
    with pytest.raises(Misuse, match="COTERIE_JOURNAL is 'always'; use 'strict', 'relaxed' or 'off'"):
        _ = CoterieHook().settings


def test_what_it_cannot_be_is_refused(named):
    named(journal="sometimes")

    with pytest.raises(Misuse, match="connection 'coterie_default' is 'sometimes'; use 'strict', 'relaxed' or 'off'"):
        _ = CoterieHook().settings


@pytest.mark.usefixtures("in_a_fleet")
def test_a_fleet_s_server_has_it(named, durable, warned):
    named(store=durable.url)

    assert opened() == (durable.url, "strict")
    assert warned == []


@pytest.mark.usefixtures("in_a_fleet")
@pytest.mark.parametrize(
    ("extra", "begins"),
    [
        ({}, "the journal is off: nobody named a state store, and 'CeleryExecutor' runs tasks where"),
        ({"store": "sqlite:///var/state.db"}, "the journal is off: the state store is sqlite://, and 'CeleryExecutor'"),
        ({"store": "memory://"}, "the journal is off: the state store is memory://, and 'CeleryExecutor'"),
    ],
)
def test_where_tasks_could_not_share_it_one_line_says_what_to_set(named, warned, extra, begins):
    named(**extra)

    assert opened() is None
    (line,) = warned
    assert line.startswith(begins)
    assert "use a Redis or Valkey server" in line
    assert "'State store' in the connection or in COTERIE_STORE" in line


@pytest.mark.usefixtures("in_a_fleet")
def test_a_dag_whose_tasks_could_not_share_a_journal_runs_without(in_airflow, named, billing):
    named()

    run = in_airflow.test(ONE.format(url=billing.url, what="unshared"))

    assert run.states() == {("pay", -1): "success"}
    assert (billing.requests("unshared"), billing.keys("unshared")) == (2, 1)


def test_a_user_who_may_not_write_has_none(monkeypatch, tmp_path):
    monkeypatch.setenv("COTERIE_HOME", str(tmp_path / "not" / "there"))
    assert why_no_journal(None, "LocalExecutor") is None

    monkeypatch.setattr(os, "access", lambda path, _: str(path) != str(tmp_path))

    assert why_no_journal(None, "LocalExecutor") == (
        f"this user may not write to {str(tmp_path)!r}; set COTERIE_HOME to a folder of his own, or name a state store"
    )
    assert why_no_journal("redis://host", "LocalExecutor") is None


def test_a_strict_journal_refuses_a_server_that_forgets_and_says_what_to_set(in_airflow, named, forgetful, billing):
    named(store=forgetful.url)

    run = in_airflow.test(ONE.format(url=billing.url, what="strict"))

    assert run.states() == {("pay", -1): "failed"}
    assert run.tries() == {"pay": 1}
    assert billing.requests("strict") == 0
    error = run.xcom("pay", "coterie_result")["error"]
    assert error["type"] == "PolicyError"
    said = 'the connection \'coterie_default\' has a strict journal; set "journal": "relaxed" in it, or "off"'
    assert error["message"].startswith(said)


@pytest.mark.parametrize("mode", ["relaxed", "off"])
def test_with_less_it_runs(in_airflow, named, forgetful, billing, mode):
    named(store=forgetful.url, journal=mode)

    run = in_airflow.test(ONE.format(url=billing.url, what=mode))

    assert run.states() == {("pay", -1): "success"}
    assert (billing.requests(mode), billing.keys(mode)) == (1 if mode == "relaxed" else 2, 1)


def test_the_form_s_button_asks_the_journal_too(named, durable, forgetful):
    named(store=durable.url)
    ok, message = CoterieHook().test_connection()
    assert ok, message
    assert message.endswith("and keeps a strict journal")

    named(store=forgetful.url)
    ok, message = CoterieHook().test_connection()
    assert not ok
    assert "is not fit for a strict journal" in message
