"""Waiting in the triggerer for what a worker performs."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.serialization.serialized_objects import BaseSerialization

from airflow_provider_coterie import behind, outlook
from airflow_provider_coterie.remote import call_trigger
from airflow_provider_coterie.remote.call_trigger import CoterieCallTrigger
from airflow_provider_coterie.remote.calling import CallWait
from coterie import ArtifactStore, Task
from coterie._rules.journal_text import Record
from coterie.errors import Unavailable
from coterie.journal import Intent
from coterie.remote import Call, RemoteCalls
from coterie.stores.opening import open_journal_store, open_log_store, open_state_store
from tests.airflow.conftest import connection
from tests.airflow.remote_agents import team
from tests.airflow.working import until, worker_in_thread

CONN = "coterie_default"
RUN = "airflow.one.run"


@pytest.fixture
def url(artifacts, tmp_path, monkeypatch):
    """A database of this test's own, named by the default connection."""
    url = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url))
    return url


@pytest.fixture
async def calls(url, artifacts):
    store, log = open_state_store(url, "default"), open_log_store(url, "default")
    yield RemoteCalls(store, log, artifacts=ArtifactStore(f"file://{artifacts}"))
    await log.aclose()
    await store.aclose()


@pytest.fixture
def worker(url, artifacts):
    with worker_in_thread(team, store=url, artifacts=f"file://{artifacts}", worker_id="thread") as running:
        yield running


@pytest.fixture
def pushed(monkeypatch):
    """What was pushed to Airflow, by key."""
    from airflow.sdk.execution_time.xcom import XCom

    seen = {}

    async def aset(key, value, **at):
        seen[key] = value

    monkeypatch.setattr(XCom, "aset", aset)
    return seen


def call_of(task_id="asked", **task_input):
    return Call.of(
        Task(task_id, "far", input=task_input), namespace="default", workflow_id=RUN, version="2", intent=Intent("one")
    )


def trigger(call, owner="first", *, as_task=True, **more):
    wait = CallWait(
        call_id=call.id, owner=owner, workflow_id=RUN, task_id=call.task.id, intent=asdict(call.intent), **more
    )
    made = CoterieCallTrigger(coterie_conn_id=CONN, wait=wait.to_dict())
    if as_task:
        made.task_instance = SimpleNamespace(dag_id="one", run_id="run", task_id=call.task.id, map_index=-1)
    return made


async def fired(waiting):
    (event,) = [event async for event in waiting.run()]
    return event


async def test_it_ends_the_task_and_leaves_what_a_worker_of_airflow_s_would(calls, worker, pushed):
    call = call_of(bytes=2000)
    await calls.submit(call, owner="first")

    event = await fired(trigger(call))

    assert type(event).__name__ == "TaskSuccessEvent"
    assert pushed["coterie_result"]["agent_id"] == "far"
    assert (await calls.artifacts.load(pushed["return_value"]))["answered"] == "asked"


class Heard:
    def __init__(self):
        self.lines = []

    def info(self, text, *values):
        self.lines.append(text % values)

    warning = info


async def test_it_tells_who_performs_the_task(calls, worker, pushed, tmp_path):
    call = call_of(gate=str(tmp_path / "gate"))
    await calls.submit(call, owner="first")
    waiting = trigger(call)
    waiting._log = heard = Heard()
    firing = asyncio.create_task(fired(waiting))

    await until(lambda: heard.lines)
    (tmp_path / "gate").touch()
    await firing

    assert heard.lines == [
        f"remote call {call.id}: the worker 'thread' performs it",
        f"remote call {call.id}: the worker 'thread' has performed it",
    ]


async def test_it_survives_the_way_through_airflow_s_database():
    path, kwargs = trigger(call_of(), ends_failure=True).serialize()

    assert path == "airflow_provider_coterie.remote.call_trigger.CoterieCallTrigger"
    assert BaseSerialization.deserialize(BaseSerialization.serialize(kwargs)) == kwargs
    assert CoterieCallTrigger(**kwargs).wait == trigger(call_of(), ends_failure=True).wait


@pytest.mark.parametrize(
    ("more", "kind"),
    [({"ends_failure": True}, "TaskFailedEvent"), ({}, "TriggerEvent")],
    ids=["the last try", "others could follow"],
)
async def test_a_failure_ends_the_task_only_where_no_try_would_follow(calls, worker, pushed, more, kind):
    call = call_of(fails=True)
    await calls.submit(call, owner="first")

    event = await fired(trigger(call, **more))

    assert type(event).__name__ == kind
    if more:
        assert pushed["coterie_result"]["error"]["type"] == "ValueError"
    else:
        assert (event.payload, pushed) == ({"woken_by": "call", "call_id": call.id}, {})


async def test_where_a_worker_of_airflow_s_would_do_more_the_task_is_resumed(calls, worker, pushed):
    call = call_of()
    await calls.submit(call, owner="first")

    event = await fired(trigger(call, ends_success=False))

    assert (type(event).__name__, pushed) == ("TriggerEvent", {})


async def test_an_output_that_is_not_wanted_is_not_pushed(calls, worker, pushed):
    call = call_of()
    await calls.submit(call, owner="first")

    await fired(trigger(call, pushes=False))

    assert set(pushed) == {"coterie_result"}


async def test_a_call_that_nobody_knows_is_asked_for_anew_by_the_task(calls, pushed):
    call = call_of()
    event = await fired(trigger(call))

    assert event.payload == {"woken_by": "call", "call_id": call.id}


async def test_a_call_that_somebody_else_cancelled_is_a_failure(calls, pushed):
    call = call_of()
    await calls.submit(call, owner="first")
    await calls.cancel(call.id, by="an operator at his desk")

    event = await fired(trigger(call, ends_failure=True))

    assert type(event).__name__ == "TaskFailedEvent"
    assert pushed["coterie_result"]["error"]["type"] == "CallCancelled"
    assert "an operator at his desk" in pushed["coterie_result"]["error"]["message"]


async def test_a_person_s_end_cancels_the_call_unless_another_try_has_taken_it_over(calls):
    call = call_of()
    await calls.submit(call, owner="first")
    await calls.submit(call, owner="second")

    await trigger(call, owner="first").on_kill()
    assert (await calls.look(call.id)).phase == "queued"

    await trigger(call, owner="second").on_kill()
    assert (await calls.look(call.id)).phase == "cancelled"


async def test_airflow_s_second_cancelling_does_not_cut_the_first_off(calls):
    call = call_of()
    await calls.submit(call, owner="first")
    killing = asyncio.create_task(trigger(call).on_kill())
    await asyncio.sleep(0)

    async def is_cancelled():
        return (await calls.look(call.id)).phase == "cancelled"

    killing.cancel()
    await asyncio.wait({killing})

    assert killing.cancelled()
    await until(is_cancelled)


@pytest.mark.parametrize(("due_in_s", "phase"), [(-1, "cancelled"), (60, "queued")], ids=["its time-out", "a restart"])
async def test_only_the_task_s_own_time_out_cancels_the_call_when_the_trigger_is_stopped(
    calls, due_in_s, phase, monkeypatch
):
    begun, source = asyncio.Event(), RemoteCalls.ended

    async def ended(self, call_id):
        begun.set()
        return await source(self, call_id)

    monkeypatch.setattr(RemoteCalls, "ended", ended)
    call = call_of()
    await calls.submit(call, owner="first")
    waiting = trigger(call)
    waiting.timeout_after = datetime.now(UTC) + timedelta(seconds=due_in_s)
    firing = asyncio.create_task(fired(waiting))
    await begun.wait()

    firing.cancel()
    await asyncio.wait({firing})

    assert firing.cancelled()
    assert (await calls.look(call.id)).phase == phase


async def test_triggers_of_one_process_share_their_stores(calls, worker, pushed, tmp_path):
    several = [call_of(f"task-{number}", gate=str(tmp_path / "gate")) for number in range(50)]
    for call in several:
        await calls.submit(call, owner="first")
    firing = [asyncio.create_task(fired(trigger(call))) for call in several]
    loop = asyncio.get_running_loop()
    shared = [outlook._open, outlook._open_logs]

    await until(lambda: [[each.users for each in one.get(loop, {}).values()] for one in shared] == [[50], [50]])
    (tmp_path / "gate").touch()

    assert {type(event).__name__ for event in await asyncio.gather(*firing)} == {"TaskSuccessEvent"}
    assert [one[loop] for one in shared] == [{}, {}]


async def test_a_store_that_does_not_answer_is_waited_for(calls, worker, pushed, monkeypatch):
    call = call_of()
    await calls.submit(call, owner="first")
    source, failures = RemoteCalls.ended, [Unavailable("away"), Unavailable("still away")]

    async def ended(self, call_id):
        if failures:
            raise failures.pop()
        return await source(self, call_id)

    monkeypatch.setattr(RemoteCalls, "ended", ended)
    monkeypatch.setattr(call_trigger, "RECOVER_S", 0.01)

    assert type(await fired(trigger(call))).__name__ == "TaskSuccessEvent"
    assert failures == []


async def test_the_journal_learns_that_airflow_took_the_success_once_it_has(calls, worker, pushed, url, monkeypatch):
    looks = iter([False, True])
    monkeypatch.setattr(call_trigger, "_is_success", lambda _: next(looks))
    monkeypatch.setattr(call_trigger, "_SEEN_LOOKS_S", (0.0, 0.0, 0.0))
    call = call_of()
    await calls.submit(call, owner="first")

    await fired(trigger(call))
    await until(lambda: not behind._going)

    store = open_journal_store(url, "default")
    texts = await store.read(RUN)
    await store.aclose()
    assert Record.read(texts["task/asked"], "task/asked").seen == {"one": 0}
    assert next(looks, None) is None
