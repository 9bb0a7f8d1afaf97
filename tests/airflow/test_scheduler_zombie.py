"""A worker that the scheduler believes dead goes on, while another try does its work: on a real scheduler."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psutil
import pytest
from deploy.demo.airflow_server import AirflowServer

from tests.airflow.billing import billing_server
from tests.airflow.conftest import HERE, PATIENT, REPOSITORY, connection
from tests.airflow.on_scheduler import Run

pytestmark = [pytest.mark.airflow, pytest.mark.full]

# Between what a busy machine may keep a worker from saying, and what a test can wait for.
HEARTBEAT_S = "30"


@pytest.fixture
def impatient(tmp_path):
    """A server of this test's own, that soon takes a silent worker for dead."""
    default = connection(tmp_path / "artifacts", store=f"sqlite://{tmp_path}/state.db")
    environment = {
        "AIRFLOW_CONN_COTERIE_DEFAULT": default,
        "PYTHONPATH": str(REPOSITORY),
        **PATIENT,
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": HEARTBEAT_S,
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    }
    with AirflowServer(HERE / "scheduler_dags", python=Path(sys.executable), env=environment) as running:
        yield running


def test_a_zombie_and_its_retry_pay_once_and_only_the_retry_is_heard(impatient, tmp_path):
    gate, pids = tmp_path / "gate", tmp_path / "pids"

    def at_work(number):
        return pids.exists() and len(pids.read_text().split()) == number

    with billing_server() as billing:
        conf = {"billing": billing.url, "gate": str(gate), "pid": str(pids)}
        run = Run(impatient, tmp_path / "artifacts", "overlapping", impatient.trigger("overlapping", conf))
        impatient.wait_for("the first at work", lambda: at_work(1))
        zombie, first = psutil.Process(int(pids.read_text())), run.tries()["pay", -1]
        supervisor = zombie.parent()
        supervisor.send_signal(signal.SIGSTOP)
        zombie.send_signal(signal.SIGSTOP)
        try:
            # Heartbeats end, so the scheduler starts another try; when the lease is over, that takes the work.
            impatient.wait_for("the retry at work", lambda: at_work(2), timeout_s=240)
            retry = int(pids.read_text().split()[1])
            gate.touch()
            assert run.wait()["state"] == "success"
            assert billing.of("overlapping") == (1, 1)
            tries = run.tries()["pay", -1]

            zombie.send_signal(signal.SIGCONT)
            impatient.wait_for("what the zombie pays", lambda: billing.requests("overlapping") == 2)
        finally:
            for process in (zombie, supervisor):
                if process.is_running():
                    process.send_signal(signal.SIGCONT)
        impatient.wait_for("its end", lambda: not zombie.is_running() or zombie.status() == psutil.STATUS_ZOMBIE)

        assert billing.of("overlapping") == (2, 1), "with the same key: who knows it, bills it once"
        assert tries > first
        assert run.states() == {("pay", -1): "success"}
        assert run.load("pay") == {"paid": "overlapping", "by": retry}
        assert "StaleToken" in run.log("pay", attempt=first)
        # Depending on how long the lease lasted, it had to wait; nothing was there to be replayed.
        assert run.first_line("pay", attempt=tries).startswith(("waiting: process ", "::group::Post Execute"))
