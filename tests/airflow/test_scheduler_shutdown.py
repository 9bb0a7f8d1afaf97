"""A task's process is told to stop, by a worker that is shut down or by a person: on a real scheduler."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from coterie.journal import Journal
from coterie.journal.place import place_of
from coterie.stores.opening import open_journal_store
from tests.airflow.billing import billing_server
from tests.airflow.on_scheduler import Run

pytestmark = [pytest.mark.airflow, pytest.mark.full]


@pytest.fixture(scope="module")
def billing():
    with billing_server() as running:
        yield running


@dataclass
class AtWork:
    """A run whose agent waits for its gate."""

    run: Run
    gate: Path
    pids: Path

    def process(self, number: int = 1) -> psutil.Process:
        """That of the task's try of that number, once its agent is at work."""

        def known():
            return self.pids.exists() and len(self.pids.read_text().split()) >= number

        self.run.server.wait_for(f"try {number} of {self.run.dag_id} at work", known)
        return psutil.Process(int(self.pids.read_text().split()[number - 1]))


@pytest.fixture
def begun(server, server_artifacts, billing, tmp_path):
    def begin(dag_id: str) -> AtWork:
        gate, pids = tmp_path / f"{dag_id}-gate", tmp_path / f"{dag_id}-pids"
        conf = {"billing": billing.url, "gate": str(gate), "pid": str(pids)}
        return AtWork(Run(server, server_artifacts, dag_id, server.trigger(dag_id, conf)), gate, pids)

    return begin


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def held_s(state_server, workflow_id: str, task_id: str) -> float:
    """For how long the work is still somebody's, as the journal says."""

    async def look() -> float:
        journal = Journal(open_journal_store(state_server.url, "default"))
        try:
            return await journal.held_s(workflow_id, place_of(task_id))
        finally:
            await journal.aclose()

    return asyncio.run(look())


def test_an_agent_that_finishes_in_time_makes_the_task_a_success(begun, billing):
    at_work = begun("finishes")
    process = at_work.process()

    # As a pod that is ended does: the supervisor passes it on.
    process.parent().send_signal(signal.SIGTERM)
    at_work.gate.touch()

    assert at_work.run.wait()["state"] == "success"
    assert at_work.run.tries() == {("pay", -1): 1}
    assert billing.of("finishes") == (1, 1)


def test_what_is_not_finished_is_handed_back_and_a_retry_goes_on_at_once(begun, billing):
    at_work = begun("handed_back")
    process = at_work.process()

    process.parent().send_signal(signal.SIGTERM)
    retry = at_work.process(2)
    at_work.gate.touch()

    assert at_work.run.wait()["state"] == "success"
    assert ended(process)
    assert retry.pid != process.pid
    assert at_work.run.tries() == {("pay", -1): 2}
    assert billing.of("handed_back") == (1, 1)
    assert "waiting: " not in at_work.run.first_line("pay", attempt=2), "the claim was free"
    assert "the task was stopped; its agents were ended first" in at_work.run.log("pay", attempt=1)


def test_a_task_that_a_person_ends_stops_and_its_work_is_free(begun, billing, state_server):
    at_work = begun("marked")
    process = at_work.process()

    at_work.run.mark("pay", "failed")
    at_work.run.server.wait_for("the end of its process", lambda: ended(process))

    assert at_work.run.wait()["state"] == "failed"
    assert at_work.run.states() == {("pay", -1): "failed"}
    assert billing.of("marked") == (0, 0)
    log = at_work.run.log("pay", attempt=1)
    assert "the task was stopped; its agents were ended first" in log
    workflow_id = f"airflow.marked.{at_work.run.run_id}"
    assert held_s(state_server, workflow_id, "pay") == 0
