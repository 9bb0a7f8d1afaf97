"""Waiting in the triggerer for a machine, beside a question on the server."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import uuid4

import pytest
from airflow.sdk.execution_time import hitl
from airflow.sdk.execution_time.xcom import XCom

from airflow_provider_coterie.machine_trigger import MOVED_ON, CoterieMachineTrigger
from tests.airflow.conftest import connection


class Server:
    """What the triggerer hears from Airflow's server of a task's question."""

    def __init__(self, *, asked_now):
        self.asked_now = asked_now
        self.answers = []

    async def xcom(self, *, key, **at):
        assert key == "coterie_question"
        assert at == {"dag_id": "one", "run_id": "run", "task_id": "machine", "map_index": -1}
        if isinstance(self.asked_now, Exception):
            raise self.asked_now
        return self.asked_now

    def answer(self, ti_id, chosen_options, params_input):
        self.answers.append(chosen_options)

    def look(self, ti_id):
        return SimpleNamespace(response_received=False, responded_by_user=None)


@pytest.mark.parametrize(
    ("asked_now", "closed"),
    [("mine", [[MOVED_ON]]), ("another", []), (None, []), (ConnectionError("away"), [])],
    ids=["still asked", "asked anew since", "of another try", "not to be seen"],
)
async def test_only_the_question_that_is_still_asked_is_closed(artifacts, tmp_path, monkeypatch, asked_now, closed):
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=f"sqlite://{tmp_path}/state.db"))
    server = Server(asked_now=asked_now)
    monkeypatch.setattr(XCom, "aget_one", server.xcom)
    monkeypatch.setattr(hitl, "update_hitl_detail_response", server.answer)
    monkeypatch.setattr(hitl, "get_hitl_detail_content_detail", server.look)
    waiting = CoterieMachineTrigger(
        # The machine is not there any more: it has moved, as far as can be.
        coterie_conn_id="coterie_default",
        workflow_id="gone",
        visit=2,
        asked=str(uuid4()),
        question="mine",
    )
    waiting.task_instance = SimpleNamespace(dag_id="one", run_id="run", task_id="machine", map_index=-1)

    events = [event.payload async for event in waiting.run()]

    assert events == [{"woken_by": "machine"}]
    assert server.answers == closed


async def test_it_survives_the_way_through_airflow_s_database():
    made = CoterieMachineTrigger(
        coterie_conn_id="coterie_default", workflow_id="r1.machine", visit=2, asked="ti", question="mine"
    )

    path, kwargs = made.serialize()

    assert path == "airflow_provider_coterie.machine_trigger.CoterieMachineTrigger"
    assert CoterieMachineTrigger(**kwargs).serialize() == made.serialize()
