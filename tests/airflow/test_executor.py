"""Which executor runs a task, and which artifact stores it can share with the run's other tasks."""

from __future__ import annotations

import pytest

from airflow_provider_coterie.executor import executor_of, is_in_process, require_shared_store
from airflow_provider_coterie.state_store import require_shared_state, with_password
from coterie.errors import Misuse, PolicyError

CELERY = "airflow.providers.celery.executors.celery_executor.CeleryExecutor"


@pytest.mark.parametrize(
    ("configured", "chosen", "expected"),
    [
        ("LocalExecutor", None, "LocalExecutor"),
        ("CeleryExecutor,LocalExecutor", None, "CeleryExecutor"),
        ("LocalExecutor, CeleryExecutor", "CeleryExecutor", "CeleryExecutor"),
        (f"LocalExecutor,{CELERY}", CELERY, "CeleryExecutor"),
        (f"LocalExecutor,fleet:{CELERY}", "fleet", "CeleryExecutor"),
        (f"fleet:{CELERY}", None, "CeleryExecutor"),
        ("LocalExecutor;analysts=CeleryExecutor", None, "LocalExecutor"),
        ("LocalExecutor;analysts=CeleryExecutor", "CeleryExecutor", "CeleryExecutor"),
        ("LocalExecutor", "acme.executors.Cloud", "Cloud"),
    ],
)
def test_the_executor_is_the_task_s_choice_or_the_first(configured, chosen, expected):
    assert executor_of(configured, chosen) == expected


@pytest.mark.parametrize("url", ["file:///var/lib/coterie", "/var/lib/coterie", "local:///var/lib/coterie"])
def test_a_local_store_is_refused_where_tasks_leave_the_machine(url):
    with pytest.raises(PolicyError, match=r"'CeleryExecutor' runs tasks on others.*use object storage"):
        require_shared_store(url, "CeleryExecutor", shared_file_system=False)


@pytest.mark.parametrize(
    ("url", "executor", "shared"),
    [
        ("file:///var/lib/coterie", "LocalExecutor", False),
        ("file:///mnt/shared", "CeleryExecutor", True),
        ("s3://bucket/prefix", "KubernetesExecutor", False),
    ],
)
def test_a_store_that_every_task_sees_is_accepted(url, executor, shared):
    require_shared_store(url, executor, shared_file_system=shared)


def test_a_store_in_memory_is_refused_under_every_executor():
    with pytest.raises(PolicyError, match="every Airflow task has its own"):
        require_shared_store("memory://here", "LocalExecutor", shared_file_system=True)


def test_a_refusal_shows_no_credentials():
    with pytest.raises(PolicyError) as refusal:
        require_shared_store("file://user:hunter2@host/path", "CeleryExecutor", shared_file_system=False)

    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("executor", ["CeleryExecutor", "KubernetesExecutor", "AwsEcsExecutor"])
def test_a_state_database_of_this_machine_is_refused_where_tasks_leave_it(executor):
    with pytest.raises(PolicyError, match=rf"'{executor}' runs tasks on others.*use a Redis or Valkey server"):
        require_shared_state("sqlite:///var/lib/coterie/state.db", executor)


@pytest.mark.parametrize("executor", ["LocalExecutor", "CeleryExecutor"])
def test_state_in_memory_is_refused_under_every_executor(executor):
    with pytest.raises(PolicyError, match=r"lives in one process.*use sqlite"):
        require_shared_state("memory://", executor)


@pytest.mark.parametrize(
    ("url", "executor"),
    [("sqlite://", "LocalExecutor"), ("rediss://host:6379/0", "CeleryExecutor"), ("redis+sentinel://a,b/m", "X")],
)
def test_a_state_store_that_every_task_sees_is_accepted(url, executor):
    require_shared_state(url, executor)


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("rediss://host:6379/0", "rediss://:p%40s%2Fs@host:6379/0"),
        ("redis://coterie@host", "redis://coterie:p%40s%2Fs@host"),
        ("redis+sentinel://h1:26379,h2/main?db=1", "redis+sentinel://:p%40s%2Fs@h1:26379,h2/main?db=1"),
        ("unix:///run/a@b.sock?db=1", "unix://:p%40s%2Fs@/run/a@b.sock?db=1"),
    ],
)
def test_the_password_joins_the_url_when_the_store_is_opened(url, whole):
    assert with_password(url, "p@s/s", "it") == whole
    assert with_password(url, None, "it") == url


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("redis://:hunter2@host", None),
        ("redis://user:hun/ter2@host", "other"),
        ("redis+sentinel://h/m?sentinel_password=hunter2", None),
        ("sqlite:///hunter2/state.db", "hunter2"),
    ],
)
def test_a_password_where_none_belongs_is_refused_and_not_shown(url, password):
    with pytest.raises(Misuse, match="password") as refusal:
        with_password(url, password, "the connection 'mine'")

    assert "hun" not in str(refusal.value)


def test_outside_of_a_worker_tasks_run_in_process():
    assert is_in_process()
