"""A whole Airflow on this machine, with a home and ports of its own: started, used over its REST API, stopped.

Only the standard library: the demo runs this from an environment that has no Airflow.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from deploy.demo.airflow_api import AirflowApi
from deploy.demo.process_group import end_group, free_ports

__all__ = ["AirflowServer", "AirflowServerError"]

T = TypeVar("T")

PAGE_ROWS = 100
STOP_S = 15.0
HEALTH_S = 60.0
ENDED = ("success", "failed")


class AirflowServerError(RuntimeError):
    """The server did not start, or did not answer as it should; the message holds the end of its log."""


class AirflowServer:
    """`airflow standalone` (scheduler, DAG processor, triggerer, API server) of the environment at `python`.

    dags_folder: the only DAGs it reads. env: added to the environment of every task.
    home: by default a temporary folder, removed at the end. Use it as a context manager: nothing of it survives.
    """

    def __init__(
        self,
        dags_folder: Path,
        *,
        python: Path,
        env: Mapping[str, str] | None = None,
        home: Path | None = None,
        parallelism: int = 4,
    ) -> None:
        self.dags_folder = dags_folder.absolute()
        self._bin = python.absolute().parent
        self._own_home = home is None
        self.home = (home or Path(tempfile.mkdtemp(prefix="coterie-airflow-"))).absolute()
        self._ports = free_ports(3)
        self._database = self.home / "airflow.db"
        self.url = f"http://127.0.0.1:{self._ports[0]}"
        self.env = {**_inherited(self._bin), **self._settings(parallelism), **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._api = AirflowApi(self.url)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """What the server wrote."""
        return self.home / "standalone.log"

    def start(self, *, timeout_s: float = 180.0) -> None:
        """Start it and wait until its scheduler and DAG processor are healthy.

        Raises:
            AirflowServerError: it ended, or was not healthy in time.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._database)) as database:
            # Kept in the file: readers and the writer no longer wait for each other.
            database.execute("PRAGMA journal_mode=WAL")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "airflow"), "standalone"],
                env=self.env,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_for("a healthy server", self._healthy, timeout_s=timeout_s)
        self._api.token = self.call("GET", "/auth/token")["access_token"]

    def stop(self) -> None:
        """End every process of it, and remove its home if it is its own. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            end_group(process, first=signal.SIGTERM, patience_s=STOP_S)
        if self._own_home:
            shutil.rmtree(self.home, ignore_errors=True)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request to the server; see `AirflowApi.call`."""
        return self._api.call(method, path, body)

    def trigger(
        self, dag_id: str, conf: Mapping[str, Any] | None = None, *, run_id: str | None = None, timeout_s: float = 120.0
    ) -> str:
        """Start a run, as soon as the DAG is known, and return its id; see `AirflowApi.start_run`."""
        self.wait_for(f"the DAG {dag_id!r}", lambda: self._known(dag_id), timeout_s=timeout_s)
        return self._api.start_run(dag_id, conf or {}, run_id)

    def wait(self, dag_id: str, run_id: str, *, timeout_s: float = 300.0) -> dict[str, Any]:
        """Wait for the run's end and return what the server says of it."""
        path = _run_path(dag_id, run_id)

        def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = self.call("GET", path)
            return run if run["state"] in ENDED else None

        return self.wait_for(f"the end of {dag_id!r} {run_id!r}", ended, timeout_s=timeout_s)

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's task instances, mapped ones each by itself."""
        return list(self._pages(f"{_run_path(dag_id, run_id)}/taskInstances", "task_instances"))

    def xcoms(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Every XCom of the run, with its value as Airflow stores it."""
        instances = f"{_run_path(dag_id, run_id)}/taskInstances"
        entries = list(self._pages(f"{instances}/~/xcomEntries", "xcom_entries"))
        return [
            self.call(
                "GET",
                f"{instances}/{entry['task_id']}/xcomEntries/{quote(entry['key'])}?map_index={entry['map_index']}",
            )
            for entry in entries
        ]

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", *, map_index: int = -1) -> Any:
        """One value, as Airflow stores it; None if there is none."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/{key}?map_index={map_index}"
        try:
            return self.call("GET", path)["value"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def task_log(self, dag_id: str, run_id: str, task_id: str, *, attempt: int = 1, map_index: int = -1) -> str:
        """What a try of a task logged, as text."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{task_id}/logs/{attempt}?map_index={map_index}"
        return json.dumps(self.call("GET", path), ensure_ascii=False)

    def wait_for(self, what: str, probe: Callable[[], T | None], *, timeout_s: float = 120.0) -> T:
        """Ask `probe` until it answers something.

        Raises:
            AirflowServerError: it did not in time, or the server ended.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise AirflowServerError(f"Airflow ended while waiting for {what}; its log ends:\n{self._tail()}")
            found = probe()
            if found:
                return found
            time.sleep(0.5)
        raise AirflowServerError(f"no {what} within {timeout_s:g} s; Airflow's log ends:\n{self._tail()}")

    def _healthy(self) -> bool:
        try:
            health = self._api.once("/api/v2/monitor/health", answer_s=HEALTH_S)
        except (OSError, ValueError):
            return False
        return all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor"))

    def _known(self, dag_id: str) -> bool:
        broken = self.call("GET", "/api/v2/importErrors")["import_errors"]
        if broken:
            raise AirflowServerError(f"DAG files cannot be read: {broken[0]['filename']}: {broken[0]['stack_trace']}")
        try:
            self.call("GET", f"/api/v2/dags/{dag_id}/details")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True

    def _pages(self, path: str, key: str) -> Iterator[dict[str, Any]]:
        offset, total = 0, 1
        while offset < total:
            page = self.call("GET", f"{path}?limit={PAGE_ROWS}&offset={offset}")
            yield from page[key]
            offset, total = offset + PAGE_ROWS, page["total_entries"]

    def _tail(self) -> str:
        return self.log.read_text("utf-8", "replace")[-3000:] if self.log.exists() else "(empty)"

    def _settings(self, parallelism: int) -> dict[str, str]:
        settings = {
            "CORE__DAGS_FOLDER": str(self.dags_folder),
            "CORE__LOAD_EXAMPLES": "False",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self._database}?timeout=60",
            "CORE__PARALLELISM": str(parallelism),
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self._ports[0]),
            "API__BASE_URL": self.url,
            "API__WORKERS": "1",
            "API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "LOGGING__WORKER_LOG_SERVER_PORT": str(self._ports[1]),
            "LOGGING__TRIGGER_LOG_SERVER_PORT": str(self._ports[2]),
            # Runs are triggered, never due.
            "SCHEDULER__USE_JOB_SCHEDULE": "False",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
            # A killed task is noticed with its next heartbeat.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        }
        return {"AIRFLOW_HOME": str(self.home), **{f"AIRFLOW__{name}": value for name, value in settings.items()}}


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}"


def _inherited(folder: Path) -> dict[str, str]:
    """This process's environment, without another Airflow's settings and foreign Python paths."""
    foreign = ("AIRFLOW", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PATH": f"{folder}{os.pathsep}{kept.get('PATH', os.defpath)}"}
