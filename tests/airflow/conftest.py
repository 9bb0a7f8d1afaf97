"""An Airflow home of this session's own; and, for the tests marked `airflow`, one running server."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy.demo.airflow_server import AirflowServer

from tests.airflow.in_airflow import InAirflow
from tests.fleet.planted.secrets import PASSWORD
from tests.support.redis_servers import Server, valkey

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

# Before anything imports Airflow, which reads its settings once.
_HOME = Path(tempfile.mkdtemp(prefix="coterie-airflow-tests-"))
# Registered first, so it runs last: Airflow writes there until the interpreter ends.
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": str(_HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(_HOME / "dags"),
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    # Where state and journal lie that no connection names: of these tests' own.
    "COTERIE_HOME": str(_HOME / "coterie"),
}
(_HOME / "dags").mkdir()


# However busy the machine is: a DAG file that is read for too long, or an API server that answers too late, would cost
# a task one of its tries.
PATIENT = {"AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300", "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60"}


def connection(artifacts: Path | str, *, password: str | None = None, **extra: object) -> str:
    """A connection of type `coterie` as an environment variable holds it."""
    url = f"file://{artifacts}" if isinstance(artifacts, Path) else artifacts
    return json.dumps({"conn_type": "coterie", "password": password, "extra": {"artifacts": url, **extra}})


@pytest.fixture(autouse=True)
def _prompt_triggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this process resume at once: no scheduler is behind them."""
    from airflow_provider_coterie import resuming

    monkeypatch.setattr(resuming, "SETTLE_S", 0.0)


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    return _HOME


@pytest.fixture(scope="session")
def airflow_database(airflow_home: Path) -> Path:
    command = [str(Path(sys.executable).parent / "airflow"), "db", "migrate"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return airflow_home / "airflow.db"


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty artifact store, and the default connection to it."""
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(folder))
    return folder


@pytest.fixture(scope="session")
def server_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact store of the server's runs."""
    return tmp_path_factory.mktemp("scheduler") / "artifacts"


@pytest.fixture(scope="session")
def state_server() -> Iterator[Server]:
    """The Valkey that holds the state and the journal of the server's runs; one needs a password for it."""
    lasting = ["--appendonly", "yes", "--appendfsync", "always"]
    with valkey(user="coterie", password="hunter2-of-the-fleet", arguments=lasting) as running:
        with running.client() as admin:
            # To see that it is durable enough.
            admin.execute_command("ACL", "SETUSER", "coterie", "+config|get")
        yield running


@pytest.fixture(scope="session")
def workers_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The database that the connection `coterie_workers` names: of workers, and of events."""
    return f"sqlite://{tmp_path_factory.mktemp('workers')}/state.db"


@pytest.fixture(scope="session")
def server(server_artifacts: Path, state_server: Server, workers_store: str) -> Iterator[AirflowServer]:
    """A real Airflow, for the whole session."""
    store = f"redis://{state_server.user}@127.0.0.1:{state_server.port}/0"
    default = connection(server_artifacts, password=state_server.password, store=store)
    environment = {
        "AIRFLOW_CONN_COTERIE_DEFAULT": default,
        "AIRFLOW_CONN_COTERIE_GENEROUS": connection(
            server_artifacts, password=state_server.password, store=store, graceful_shutdown_timeout_s=600
        ),
        "AIRFLOW_CONN_COTERIE_WORKERS": connection(server_artifacts, store=workers_store),
        # Else no event starts a run.
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",
        # What `tests.fleet.planted` looks for.
        "PROVIDER_PASSWORD": PASSWORD,
        "PYTHONPATH": str(REPOSITORY),
        **PATIENT,
    }
    python = Path(sys.executable)
    with AirflowServer(HERE / "scheduler_dags", python=python, env=environment) as running:
        yield running


@pytest.fixture
def in_airflow(airflow_database: Path, artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InAirflow:
    """Runs DAG files with `dag.test()`."""
    return InAirflow(tmp_path / "bundles", artifacts, monkeypatch)
