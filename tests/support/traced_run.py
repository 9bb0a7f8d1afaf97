"""The run of `tests.support.traced`, on real parts: it begins on Airflow, loses two processes, and ends on Prefect."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.airflow_server import AirflowServer
from deploy.demo.prefect_server import PrefectServer

from tests.support import traced
from tests.support.running import process

__all__ = ["Ended", "Parts"]

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "tests" / "demo"
HERE = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of the run when all of its processes are gone.

    lost: the spans that the killed processes were in, by task: `work` and `call`. status: as Prefect has it.
    """

    run_id: str
    store: str
    lost: Mapping[str, Mapping[str, str]]
    on_airflow: str
    status: str


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the run is to happen. endpoint: where every process sends its spans and counts, as OTLP over HTTP."""

    folder: Path
    endpoint: str
    airflow_python: Path
    prefect_python: Path

    @property
    def store(self) -> str:
        """Where state, journal and queues lie."""
        return f"sqlite://{self.folder}/state.db"

    def perform(self) -> Ended:
        """Have the run performed; when this returns, every process has ended and sent what it had to send."""
        traced.order_death(self.folder, "weigh", "report")
        (self.folder / "dags").mkdir()
        shutil.copy(DEMO / "dags" / "traced.py", self.folder / "dags")
        settings = self._environment("airflow") | {
            "AIRFLOW__TRACES__OTEL_ON": "True",
            "AIRFLOW__METRICS__OTEL_ON": "True",
        }
        with (
            AirflowServer(
                self.folder / "dags", python=self.airflow_python, home=self.folder / "airflow", env=settings
            ) as airflow,
            self._worker("porter", "looker,sender"),
        ):
            dag_run = airflow.trigger("traced")
            with self._worker("scale-1", "weigher"):
                airflow.wait_for("the death of a worker", lambda: traced.last_words(self.folder, "weigh"))
            with self._worker("scale-2", "weigher"):
                state = airflow.wait("traced", dag_run)["state"]
            run_id = f"airflow.traced.{dag_run}"
            status = self._on_prefect(run_id)
        lost = {task: traced.last_words(self.folder, task) or {} for task in ("weigh", "report")}
        return Ended(run_id, self.store, lost, state, status)

    def shown(self, run_id: str) -> str:
        """`coterie trace show RUN --json`."""
        command = [str(HERE / "coterie"), "trace", "show", run_id, "--json"]
        environment = {**os.environ, **self._environment("shown")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    def _worker(self, name: str, types: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        instrument = [str(HERE / "opentelemetry-instrument"), str(HERE / "coterie")]
        command = [*instrument, "worker", "--team", traced.TEAM, "--types", types, "--id", name]
        return process(command, self._environment(name), self.folder / f"{name}.log")

    def _on_prefect(self, run_id: str) -> str:
        python = self.prefect_python
        instrument = [str(python.parent / "opentelemetry-instrument"), str(python)]
        with PrefectServer(self.folder / "prefect", python=python) as server:
            environment = {**server.environment(), **self._environment("prefect")}
            environment["PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY"] = "true"
            done = subprocess.run(
                [*instrument, str(DEMO / "flows" / "traced.py"), run_id],
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def _environment(self, service: str) -> dict[str, str]:
        return {
            "PYTHONPATH": str(REPOSITORY),
            traced.FOLDER: str(self.folder),
            "COTERIE_STORE": self.store,
            "COTERIE_ARTIFACTS": f"file://{self.folder}/artifacts",
            "OTEL_SERVICE_NAME": service,
            "OTEL_TRACES_EXPORTER": "otlp_proto_http",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_METRICS_EXPORTER": "otlp_proto_http",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            "OTEL_LOGS_EXPORTER": "none",
        }
